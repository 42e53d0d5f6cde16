"""Prompts by a sampler and by a language model, which here is a server of this process."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cosmos_sim.augmentation.language_model import KEY, ChatModel
from cosmos_sim.augmentation.prompts import SampledPrompts, WrittenPrompts
from cosmos_sim.augmentation.template import Template

TEMPLATE = Template("toy", "[TABLE] with [COLOR] cube", {"TABLE": ("a desk", "a bench"), "COLOR": ("a red", "a blue")})
Answer = Callable[[dict[str, Any], int], tuple[int, Any]]


class Server:
    """Answers as ``answer(body, number of the request)`` says."""

    def __init__(self, answer: Answer) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append({**body, "path": self.path})
                outer.keys.append(self.headers.get("Authorization"))
                status, content = answer(body, len(outer.bodies))
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Server]]:
    servers: list[Server] = []

    def start(answer: Answer) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def said(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}}]}


def test_sampled_prompts_do_not_depend_on_what_else_is_drawn() -> None:
    prompts = SampledPrompts(TEMPLATE, seed=4)
    assert prompts.of(3, [1]) == prompts.of(3, range(2))[1:]


def test_a_language_model_fills_the_slots(serve: Callable[[Answer], Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "secret")
    fillings = [{"TABLE": "a glass desk", "COLOR": "a gold"}, {"TABLE": "a crate", "COLOR": "a pink"}]
    server = serve(lambda body, _: (200, said(f"Here you are:\n```json\n{json.dumps(fillings)}\n```")))
    prompts = WrittenPrompts(TEMPLATE, ChatModel("tiny", server.url), seed=2).of(0, range(2))
    assert [prompt.caption.caption for prompt in prompts] == [
        "a glass desk with a gold cube",
        "a crate with a pink cube",
    ]
    assert prompts[1].slots == fillings[1]
    (body,) = server.bodies
    assert (body["path"], body["model"], server.keys) == ("/v1/chat/completions", "tiny", ["Bearer secret"])
    assert "2 different fillings" in body["messages"][0]["content"]
    assert TEMPLATE.text in body["messages"][0]["content"]


def test_an_unusable_reply_is_told_to_the_model_and_asked_for_again(serve: Callable[[Answer], Server]) -> None:
    replies = ["no JSON here", '[{"TABLE": "a desk"}]', '[{"TABLE": "a desk", "COLOR": "a green"}]']
    server = serve(lambda _, number: (200, said(replies[number - 1])))
    (prompt,) = WrittenPrompts(TEMPLATE, ChatModel("tiny", server.url), seed=0).of(5, [0])
    assert prompt.caption.caption == "a desk with a green cube"
    told = [body["messages"][0]["content"] for body in server.bodies]
    assert "could not be used" not in told[0]
    assert "no JSON list" in told[1]
    assert "slot 'COLOR' needs a text" in told[2]
    assert len({body["seed"] for body in server.bodies}) == 3


def test_a_model_that_never_fills_it_is_an_error(serve: Callable[[Answer], Server]) -> None:
    same = [{"TABLE": "a desk", "COLOR": "a red"}] * 2
    server = serve(lambda *_: (200, said(json.dumps(same))))
    with pytest.raises(ValueError, match="no template in 3 attempts: the fillings must differ"):
        WrittenPrompts(TEMPLATE, ChatModel("tiny", server.url), seed=0).of(0, range(2))


def test_a_busy_server_is_asked_again_and_a_refusal_is_told(serve: Callable[[Answer], Server]) -> None:
    busy = serve(lambda _, number: (200, said("yes")) if number == 3 else (503, {"error": "busy"}))
    assert ChatModel("tiny", busy.url, pause=0.01).reply("?", seed=1) == "yes"
    refusing = serve(lambda *_: (401, {"error": "no such key"}))
    with pytest.raises(ValueError, match=r"answered 401: .*no such key"):
        ChatModel("tiny", refusing.url).reply("?", seed=1)
    assert len(refusing.bodies) == 1
    strange = serve(lambda *_: (200, {"choices": []}))
    with pytest.raises(ValueError, match="unknown form"):
        ChatModel("tiny", strange.url).reply("?", seed=1)


def test_an_address_where_nothing_listens(serve: Callable[[Answer], Server]) -> None:
    server = serve(lambda *_: (200, said("yes")))
    server.close()
    with pytest.raises(OSError, match="no reply from"):
        ChatModel("tiny", server.url, attempts=2, pause=0.01).reply("?", seed=1)
    with pytest.raises(ValueError, match="must begin with http"):
        ChatModel("tiny", "localhost:8000")
