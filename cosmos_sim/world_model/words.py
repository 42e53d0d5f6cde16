"""A text encoder without weights: every word with its neighbours, hashed to a vector. For small worlds, offline.

A world that knows a few dozen sentences needs no language model: it needs to tell words apart, to know which belong
together ("red cube, grey dish"), and vectors from which its own first layer for text (``DiT.crossattn_proj``) can
learn: those of :mod:`cosmos_sim.data.word_vectors`.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cosmos_sim.data.files import new_folder
from cosmos_sim.data.pretrained import from_dict, read_config, to_json
from cosmos_sim.data.word_vectors import WordsConfig

KIND, FOLDER = "words", "text"
"""Of the config; and the folder in a network's that holds it."""


class Words:
    """A :class:`cosmos_sim.world_model.text.TextEncoder`, on the CPU in fp32.

    Its embeddings are :meth:`~cosmos_sim.data.word_vectors.WordsConfig.tokens`.
    """

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, config: WordsConfig | None = None) -> None:
        self.config = config or WordsConfig()
        self.length, self.width = self.config.length, self.config.width

    @classmethod
    def from_pretrained(cls, folder: Path) -> "Words":
        """The encoder in a folder that :meth:`save_pretrained` wrote.

        Raises:
            ValueError: it holds none, or a damaged one.
        """
        values = read_config(folder, KIND)
        return cls(from_dict(WordsConfig, values.get("words", {}), where=str(folder / "config.json")))

    def save_pretrained(self, folder: Path) -> None:
        """Write a folder with ``config.json``, whole or not at all."""
        with new_folder(folder) as beside:
            (beside / "config.json").write_text(to_json({"kind": KIND, "words": self.config}))

    def identity(self) -> Mapping[str, str]:
        """The config, but for the vocabulary, on which no embedding depends."""
        kept = {name: value for name, value in asdict(self.config).items() if name != "vocabulary"}
        return {"encoder": KIND, **{name: str(value) for name, value in kept.items()}}

    def weights(self) -> str | None:
        return KIND

    def encode(self, prompts: Sequence[str]) -> Float[Tensor, "b length width"]:
        """The embeddings. Warns of words that no training text had, and of texts that are too long."""
        out = np.zeros((len(prompts), self.length, self.width), np.float32)
        for row, prompt in zip(out, prompts, strict=True):
            for complaint in self.config.complaints(prompt):
                warnings.warn(complaint, stacklevel=2)
            row[:] = self.config.tokens(prompt)
        return torch.from_numpy(out)

    def release(self) -> None:
        """There are no weights to give back."""


def find_words(network: str | Path) -> Words | None:
    """The encoder that lies in a network's folder, in ``text``; ``None`` where there is none.

    Raises:
        ValueError: it is damaged, or of another kind.
    """
    folder = Path(network) / FOLDER
    return Words.from_pretrained(folder) if (folder / "config.json").is_file() else None
