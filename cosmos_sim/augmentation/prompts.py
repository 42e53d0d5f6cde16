"""The prompts of a dataset's variants: from a template, filled by a seeded sampler or by a language model."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cosmos_sim.augmentation.template import Prompt, Template
from cosmos_sim.data.chat import LanguageModel, ask


class Prompts(Protocol):
    """Whatever makes the prompts of an episode's variants."""

    def of(self, episode: int, variants: Sequence[int]) -> list[Prompt]:
        """The prompts of some ``variants`` of an ``episode``, in their order."""


@dataclass(frozen=True)
class SampledPrompts:
    """Prompts drawn from a template's own texts: the same seed gives the same, in any order."""

    template: Template
    seed: int

    def of(self, episode: int, variants: Sequence[int]) -> list[Prompt]:
        return [self.template.sample(seed=self.seed, episode=episode, variant=variant) for variant in variants]


@dataclass(frozen=True)
class WrittenPrompts:
    """Prompts whose slots a language model fills, as the paper does.

    The model is shown the template and a few of its texts, and answers in JSON; what it answers is checked, and a
    reply that cannot be used is told to it and asked for again.
    """

    template: Template
    model: LanguageModel
    seed: int
    attempts: int = 3

    def of(self, episode: int, variants: Sequence[int]) -> list[Prompt]:
        """Raises :class:`ValueError` with the last fault if no reply of the model can be used."""
        if not variants:
            return []
        return ask(
            self.model,
            _instruction(self.template, len(variants)),
            lambda reply: self._read(reply, len(variants)),
            seed=self.seed * 1_000_003 + episode * 101,
            attempts=self.attempts,
        )

    def _read(self, reply: str, count: int) -> list[Prompt]:
        start, end = reply.find("["), reply.rfind("]")
        try:
            fillings = json.loads(reply[start : end + 1])
        except json.JSONDecodeError as error:
            raise ValueError(f"it holds no JSON list: {error}") from error
        if not isinstance(fillings, list) or len(fillings) != count or not all(isinstance(f, dict) for f in fillings):
            raise ValueError(f"it must be a JSON list of {count} objects")
        prompts = [self.template.fill(filling) for filling in fillings]
        if len({prompt.caption.caption for prompt in prompts}) < count:
            raise ValueError("the fillings must differ from each other")
        return prompts


def _instruction(template: Template, count: int) -> str:
    examples = {slot: list(template.slots[slot][:4]) for slot in template.places}
    return (
        "A video of a robot at work is to be shown again with another appearance: other colours, materials, light and "
        "background, while every object keeps its place, shape and motion. Below is a description of it with slots in "
        f"brackets, and examples of what may stand in each. Write {count} different fillings that look realistic and "
        "vary widely. Fit the grammar of the description. Answer with a JSON list of objects that map each slot to "
        f"its text, and nothing else.\n\nDescription: {template.text}\nSlots: {json.dumps(examples)}"
    )
