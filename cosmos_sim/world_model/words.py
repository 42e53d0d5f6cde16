"""A text encoder without weights: every word with its neighbours, hashed to a vector. For small worlds, offline.

A world that knows a few dozen sentences needs no language model: it needs to tell words apart, to know which belong
together ("red cube, grey dish"), and vectors from which its own first layer for text (``DiT.crossattn_proj``) can
learn. As in fastText (Bojanowski et al., arXiv 1607.04606) a word is the sum of its own vector and of those of its
groups of letters, so that every word has one and those that are spelled alike are alike. The vectors are hashed signs,
the same everywhere and for ever.
"""

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy import ndarray
from torch import Tensor

from cosmos_sim.data.files import new_folder
from cosmos_sim.data.pretrained import from_dict, read_config, to_json

KIND, FOLDER = "words", "text"
"""Of the config; and the folder in a network's that holds it."""

_LETTERS = (3, 4, 5)
"""Lengths of the groups of letters."""
_SHOWN = 5


@dataclass(frozen=True)
class WordsConfig:
    """How sentences become vectors."""

    length: int = 64
    """Words: longer texts are cut, shorter ones are followed by zeros."""
    neighbours: int = 2
    """Words of the same sentence on either side whose vectors stand beside a word's own."""
    word: int = 64
    """Numbers of one word's vector."""
    vocabulary: tuple[str, ...] = ()
    """The words of a network's training; others are warned of. Nothing is warned of where there are none."""

    def __post_init__(self) -> None:
        if self.length < 1 or self.neighbours < 0:
            raise ValueError(f"length={self.length} must be at least 1, and neighbours={self.neighbours} at least 0")
        if not 8 <= self.word <= 512 or self.word % 8:
            raise ValueError(f"word must be a multiple of 8 up to 512, not {self.word}")

    @property
    def width(self) -> int:
        return self.word * (2 * self.neighbours + 1)

    def knowing(self, texts: Iterable[str]) -> "WordsConfig":
        """The same with the words of ``texts`` in its vocabulary, too."""
        found = {word for text in texts for sentence in sentences(text) for word in sentence}
        return replace(self, vocabulary=tuple(sorted(found.union(self.vocabulary))))


class Words:
    """A :class:`cosmos_sim.world_model.text.TextEncoder`, on the CPU in fp32.

    Token ``i`` is the vectors of the words ``i - neighbours ... i + neighbours`` side by side, with zeros beyond the
    ends of its sentence: what surrounds a sentence does not change it.
    """

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, config: WordsConfig | None = None) -> None:
        self.config = config or WordsConfig()
        self.length, self.width = self.config.length, self.config.width
        self._known = frozenset(self.config.vocabulary)

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
        out = np.zeros((len(prompts), self.length, 2 * self.config.neighbours + 1, self.config.word), np.float32)
        for row, prompt in zip(out, prompts, strict=True):
            first, found = 0, sentences(prompt)
            self._warn(prompt, [word for sentence in found for word in sentence])
            for sentence in found:
                self._write(sentence, row[first:])
                first += len(sentence)
        return torch.from_numpy(out.reshape(len(prompts), self.length, self.width))

    def release(self) -> None:
        """There are no weights to give back."""

    def _write(self, sentence: Sequence[str], rows: Float32[ndarray, "l places word"]) -> None:
        """Write the tokens of a sentence to the first of ``rows``, as many as there are."""
        for token, row in enumerate(rows[: len(sentence)]):
            for place in range(len(row)):
                other = token + place - self.config.neighbours
                if 0 <= other < len(sentence):
                    row[place] = word_vector(sentence[other], self.config.word)

    def _warn(self, prompt: str, words: Sequence[str]) -> None:
        if len(words) > self.length:
            cut = f"the last {len(words) - self.length} of its {len(words)} words are cut off"
            warnings.warn(f"the prompt {prompt[:40]!r}... is too long: {cut}", stacklevel=3)
        if self._known and (foreign := sorted(set(words) - self._known)):
            some = ", ".join(map(repr, foreign[:_SHOWN])) + (", ..." if len(foreign) > _SHOWN else "")
            warnings.warn(f"no text that the network was trained on has the words {some}", stacklevel=3)


def sentences(text: str) -> list[list[str]]:
    """The words of each sentence, in lower case; all but letters, digits and apostrophes stands between words."""
    found = (re.findall(r"[^\W_]+(?:'[^\W_]+)*", part.lower()) for part in re.split(r"[.!?;:]+(?:\s|$)|\n", text))
    return [words for words in found if words]


@lru_cache(maxsize=65536)
def word_vector(word: str, width: int) -> Float32[ndarray, "width"]:
    """A vector of mean square 1: half of it the word's own signs, half those of its groups of 3 to 5 letters."""
    marked = f"<{word}>"
    groups = [marked[i : i + n] for n in _LETTERS for i in range(len(marked) - n + 1)]
    spelled = np.sum([_signs(group, width) for group in groups], axis=0)
    found = _signs(word, width) + spelled / np.sqrt(len(groups))
    vector = (found / np.sqrt(np.mean(np.square(found)))).astype(np.float32)
    vector.flags.writeable = False
    return np.asarray(vector)


def find_words(network: str | Path) -> Words | None:
    """The encoder that lies in a network's folder, in ``text``; ``None`` where there is none.

    Raises:
        ValueError: it is damaged, or of another kind.
    """
    folder = Path(network) / FOLDER
    return Words.from_pretrained(folder) if (folder / "config.json").is_file() else None


def _signs(text: str, width: int) -> Float32[ndarray, "width"]:
    """Plus and minus ones: the bits of a BLAKE2b hash."""
    bits = np.unpackbits(np.frombuffer(blake2b(text.encode(), digest_size=width // 8).digest(), np.uint8))
    return bits.astype(np.float32) * 2 - 1
