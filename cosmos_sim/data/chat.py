"""Models that answer in words, behind an address that speaks OpenAI's protocol: vLLM, llama.cpp, Ollama and most hosted
ones."""

import base64
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from cosmos_sim.data.images import to_png

KEY = "OPENAI_API_KEY"
"""The environment variable that holds the key, where the model asks for one."""

_AGAIN = (408, 429, 500, 502, 503, 504)

Image = UInt8[ndarray, "h w 3"]


class UnusableReplyError(ValueError):
    """A language model answered, but never so that its answer could be used."""


class LanguageModel(Protocol):
    """Anything that answers in words, such as :class:`ChatModel`."""

    def reply(self, instruction: str, *, seed: int, images: Sequence[Image] = ()) -> str:
        """The answer to ``instruction``, with ``images`` shown before it."""


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
        _check_address(self.url)
        if not self.model:
            raise ValueError("the language model needs a name")

    def reply(self, instruction: str, *, seed: int, images: Sequence[Image] = ()) -> str:
        """The answer to ``instruction``, with ``images`` (PNG in data URLs, sent without loss) shown before it.

        Raises:
            ValueError: the server refuses, or answers in another form; the message holds its words.
            OSError: it cannot be reached.
        """
        address = f"{self.url.rstrip('/')}/chat/completions"
        content: Any = instruction
        if images:
            shown = [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in images]
            content = [*shown, {"type": "text", "text": instruction}]
        body = {"model": self.model, "seed": seed, "messages": [{"role": "user", "content": content}]}
        found = _request(address, body, timeout=self.timeout, attempts=self.attempts, pause=self.pause)
        try:
            text = found["choices"][0]["message"]["content"]
        except (LookupError, TypeError) as error:
            raise ValueError(f"{address} answered in an unknown form: {str(found)[:200]}") from error
        if not isinstance(text, str):
            raise ValueError(f"{address} answered without text: {str(found)[:200]}")
        return text


def find_chat(address: str) -> ChatModel:
    """The model at ``URL#MODEL``, such as ``http://localhost:8000/v1#Qwen/Qwen3-VL-8B-Instruct``.

    ``#MODEL`` may be left out where the server has one model only, which it is asked for.

    Raises:
        ValueError: no address, or no model named where there are several or none, which the message lists.
        OSError: the server cannot be reached.
    """
    url, _, model = address.partition("#")
    _check_address(url)
    if model:
        return ChatModel(model, url)
    listing = f"{url.rstrip('/')}/models"
    found = _request(listing, None, timeout=30.0, attempts=2, pause=1.0)
    try:
        names = [str(entry["id"]) for entry in found["data"]]
    except (LookupError, TypeError) as error:
        raise ValueError(f"{listing} answered in an unknown form: {str(found)[:200]}") from error
    if len(names) != 1:
        raise ValueError(f"name a model, as in {url}#MODEL: the server has {', '.join(names) or 'none'}")
    return ChatModel(names[0], url)


def ask[T](
    model: LanguageModel,
    instruction: str,
    read: Callable[[str], T],
    *,
    seed: int,
    images: Sequence[Image] = (),
    attempts: int = 3,
) -> T:
    """What ``read`` makes of the model's reply.

    A reply that ``read`` cannot use, for which it raises :class:`ValueError`, is told to the model and asked for again
    under the next seed.

    Raises:
        UnusableReplyError: with the last fault; and whatever the model raises.
    """
    fault = ""
    for attempt in range(attempts):
        told = f"\nYour last reply could not be used: {fault}" if fault else ""
        reply = model.reply(instruction + told, seed=(seed + attempt) % 2**31, images=images)
        try:
            return read(reply)
        except ValueError as error:
            fault = str(error)
    raise UnusableReplyError(f"the language model gave no usable reply in {attempts} attempts: {fault}")


def data_url(image: Image) -> str:
    """An RGB image as a ``data:`` URL of a PNG.

    Raises:
        ValueError: it is not ``uint8 h w 3``, or empty.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or image.size == 0:
        raise ValueError(f"an image is uint8 of h w 3, got {image.dtype} of shape {image.shape}")
    return "data:image/png;base64," + base64.b64encode(to_png(image)).decode()


def _check_address(url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"the language model's address must begin with http:// or https://, got {url!r}")


def _request(address: str, body: dict[str, Any] | None, *, timeout: float, attempts: int, pause: float) -> Any:
    """The JSON that ``address`` answers to ``body`` (to being read, without one)."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, headers)
    for attempt in range(attempts):
        last = attempt + 1 == attempts
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                answer = response.read()
            break
        except urllib.error.HTTPError as error:
            words = error.read(300).decode(errors="replace")
            if last or error.code not in _AGAIN:
                raise ValueError(f"{address} answered {error.code}: {words}") from None
        except (OSError, http.client.HTTPException) as error:
            if last:
                raise OSError(f"no reply from {address}: {error}") from error
        time.sleep(pause * 2**attempt)
    try:
        return json.loads(answer)
    except ValueError as error:
        raise ValueError(f"{address} answered in an unknown form: {answer[:200]!r}") from error
