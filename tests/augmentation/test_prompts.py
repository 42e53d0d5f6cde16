"""Prompts by a sampler and by a language model, which here is a server of this process."""

import json
from collections.abc import Callable

import pytest
from chat_server import Answer, Server, said

from cosmos_sim.augmentation.prompts import SampledPrompts, WrittenPrompts
from cosmos_sim.augmentation.template import Template
from cosmos_sim.data.chat import KEY, ChatModel

TEMPLATE = Template("toy", "[TABLE] with [COLOR] cube", {"TABLE": ("a desk", "a bench"), "COLOR": ("a red", "a blue")})


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
    with pytest.raises(ValueError, match="no usable reply in 3 attempts: the fillings must differ"):
        WrittenPrompts(TEMPLATE, ChatModel("tiny", server.url), seed=0).of(0, range(2))
