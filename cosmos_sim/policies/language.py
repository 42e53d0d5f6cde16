"""What a policy is told to do: from the words of ``info["task"]`` to a vector that its networks are conditioned on."""

import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from cosmos_sim.data.word_vectors import WordsConfig, sentences

HEADS = 4


class InstructionEncoder(nn.Module):
    """Words into one vector: each head learns which words to look at (attention pooling) and what to take from them.

    What is taken of a word is linear in it and in its neighbours, so that "the green can" is what the green of one
    training text and the can of another make of it.
    """

    def __init__(self, words: WordsConfig, features: int) -> None:
        super().__init__()
        self.score = nn.Linear(words.width, HEADS)
        self.value = nn.Linear(words.width, HEADS * features)
        self.out = nn.Linear(HEADS * features, features)

    def forward(self, tokens: Float[Tensor, "b l w"]) -> Float[Tensor, "b d"]:
        """Of the tokens of :class:`~cosmos_sim.data.word_vectors.WordsConfig`; those that are zeros are no words."""
        absent = (tokens == 0).all(-1, keepdim=True)
        attention = self.score(tokens).float().masked_fill(absent, -torch.inf).softmax(1)
        values = rearrange(self.value(tokens), "b l (h d) -> b l h d", h=HEADS)
        pooled = torch.einsum("blh,blhd->bhd", attention.to(values.dtype), values)
        return self.out(rearrange(pooled, "b h d -> b (h d)"))


def embed(texts: Sequence[str], words: WordsConfig) -> Float[Tensor, "b l w"]:
    """The tokens of instructions. Warns once of words that were in no text of training.

    Raises:
        ValueError: an instruction has no words.
    """
    return torch.from_numpy(np.stack([_tokens(text, words) for text in texts]))


def instructions(info: Mapping[str, Any], count: int) -> list[str]:
    """What ``info["task"]`` tells each of ``count`` environments: one text for all of them, or one each.

    Raises:
        ValueError: it is missing, is no text, or tells another number of environments.
    """
    told = info.get("task")
    if told is None:
        raise ValueError("the policy does what info['task'] says, which the environment does not give")
    texts = [told] * count if isinstance(told, str) else list(told)
    if len(texts) != count:
        raise ValueError(f"info['task'] must be one text, or one for each of {count} environments, got {len(texts)}")
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"info['task'] must be text, got {text!r}")
    return [str(text) for text in texts]


def warn_of_tasks(tasks: Sequence[str], advice: str) -> None:
    """Warn that a policy that does not read is to learn several ``tasks``."""
    if len(tasks) > 1:
        some = ", ".join(map(repr, tasks[:3])) + (", ..." if len(tasks) > 3 else "")
        warnings.warn(
            f"the episodes do {len(tasks)} tasks ({some}), and the policy cannot know which is meant: {advice}",
            stacklevel=3,
        )


@lru_cache(maxsize=4096)
def _tokens(text: str, words: WordsConfig) -> np.ndarray:
    if not sentences(text):
        raise ValueError(f"an instruction must have words, got {text!r}")
    for complaint in words.complaints(text):
        warnings.warn(complaint, stacklevel=3)
    return words.tokens(text)
