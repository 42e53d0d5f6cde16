"""Language models behind an address that speaks OpenAI's protocol: vLLM, llama.cpp, Ollama and most hosted ones."""

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

KEY = "OPENAI_API_KEY"
"""The environment variable that holds the key, where the model asks for one."""

_AGAIN = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class ChatModel:
    """A model at ``url`` (such as ``http://localhost:8000/v1``), asked through ``/chat/completions``.

    The key is read from the environment (:data:`KEY`), never stored.
    """

    model: str
    url: str
    timeout: float = 120.0
    """Seconds to wait for one reply."""
    attempts: int = 4
    """Requests until one succeeds, where the server is busy or silent."""
    pause: float = 1.0
    """Seconds before the second request, doubled before each further one."""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"the language model's address must begin with http:// or https://, got {self.url!r}")
        if not self.model:
            raise ValueError("the language model needs a name")

    def reply(self, instruction: str, *, seed: int) -> str:
        """The answer to ``instruction``.

        Raises:
            ValueError: the server refuses, or answers in another form; the message holds its words.
            OSError: it cannot be reached.
        """
        address = f"{self.url.rstrip('/')}/chat/completions"
        body = {"model": self.model, "seed": seed, "messages": [{"role": "user", "content": instruction}]}
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)
        for attempt in range(self.attempts):
            last = attempt + 1 == self.attempts
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as response:
                    return _content(response.read(), address)
            except urllib.error.HTTPError as error:
                words = error.read(300).decode(errors="replace")
                if last or error.code not in _AGAIN:
                    raise ValueError(f"{address} answered {error.code}: {words}") from None
            except (OSError, http.client.HTTPException) as error:
                if last:
                    raise OSError(f"no reply from {address}: {error}") from error
            time.sleep(self.pause * 2**attempt)
        raise AssertionError("the last attempt returns or raises")


def _content(body: bytes, address: str) -> str:
    try:
        content = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{address} answered in an unknown form: {body[:200]!r}") from error
    if not isinstance(content, str):
        raise ValueError(f"{address} answered without text: {body[:200]!r}")
    return content
