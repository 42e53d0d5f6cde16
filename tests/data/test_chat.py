"""Asking a language model, which here is a server of this process."""

import base64
import io
from collections.abc import Callable

import numpy as np
import pytest
from chat_server import Answer, Server, said
from PIL import Image

from cosmos_sim.data.chat import ChatModel, ask, data_url, find_chat


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


def test_images_arrive_without_loss_before_the_words(serve: Callable[[Answer], Server]) -> None:
    images = [np.random.default_rng(k).integers(0, 256, (5, 7 + k, 3), np.uint8) for k in range(2)]
    server = serve(lambda *_: (200, said("a cube")))
    assert ChatModel("tiny", server.url).reply("What is it?", seed=3, images=images) == "a cube"
    *shown, text = server.bodies[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    for image, part in zip(images, shown, strict=True):
        head, _, data = part["image_url"]["url"].partition(",")
        assert head == "data:image/png;base64"
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), image)
    with pytest.raises(ValueError, match=r"got float64 of shape \(2, 3\)"):
        data_url(np.zeros((2, 3)))


def test_an_unusable_reply_is_told_and_asked_for_again_under_another_seed(serve: Callable[[Answer], Server]) -> None:
    server = serve(lambda _, number: (200, said("seven" if number == 1 else "7")))
    assert ask(ChatModel("tiny", server.url), "How many?", int, seed=5) == 7
    first, second = (body["messages"][0]["content"] for body in server.bodies)
    assert first == "How many?"
    assert second.startswith("How many?\nYour last reply could not be used: invalid literal")
    assert [body["seed"] for body in server.bodies] == [5, 6]


def test_a_refusal_is_no_reply_to_ask_again_after(serve: Callable[[Answer], Server]) -> None:
    server = serve(lambda *_: (400, {"error": "no images, please"}))
    with pytest.raises(ValueError, match="no images, please"):
        ask(ChatModel("tiny", server.url), "?", int, seed=0)
    assert len(server.bodies) == 1


def test_a_model_by_its_address(serve: Callable[[Answer], Server]) -> None:
    one = serve(lambda *_: (200, {"data": [{"id": "org/one"}]}))
    assert find_chat(one.url) == ChatModel("org/one", one.url)
    assert one.bodies == [{"path": "/v1/models"}]
    assert find_chat(f"{one.url}#org/other") == ChatModel("org/other", one.url)
    assert len(one.bodies) == 1
    two = serve(lambda *_: (200, {"data": [{"id": "a"}, {"id": "b"}]}))
    with pytest.raises(ValueError, match=r"as in http://.*/v1#MODEL: the server has a, b"):
        find_chat(two.url)
    strange = serve(lambda *_: (200, ["a"]))
    with pytest.raises(ValueError, match=r"/v1/models answered in an unknown form: \['a'\]"):
        find_chat(strange.url)
    with pytest.raises(ValueError, match="must begin with http"):
        find_chat("localhost:8000#a")
