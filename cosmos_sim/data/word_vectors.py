"""Words as vectors that need no weights: hashed, the same everywhere and for ever.

As in fastText (Bojanowski et al., arXiv 1607.04606) a word is the sum of its own vector and of those of its groups of
letters, so that every word has one and those that are spelled alike are alike. A sentence becomes tokens, each a word
between its neighbours, which tell what belongs together ("red cube, grey dish") and what stands where ("on the cube").
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

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
    """The words of a network's training; others are complained of. Nothing is where there are none."""

    def __post_init__(self) -> None:
        if self.length < 1 or self.neighbours < 0:
            raise ValueError(f"length={self.length} must be at least 1, and neighbours={self.neighbours} at least 0")
        if not 8 <= self.word <= 512 or self.word % 8:
            raise ValueError(f"word must be a multiple of 8 up to 512, not {self.word}")

    @property
    def width(self) -> int:
        """Numbers of a token."""
        return self.word * (2 * self.neighbours + 1)

    def knowing(self, texts: Iterable[str]) -> "WordsConfig":
        """The same with the words of ``texts`` in its vocabulary, too."""
        found = {word for text in texts for sentence in sentences(text) for word in sentence}
        return replace(self, vocabulary=tuple(sorted(found.union(self.vocabulary))))

    def tokens(self, text: str) -> Float32[ndarray, "length width"]:
        """The words of ``text``, each between its neighbours.

        Token ``i`` is the vectors of the words ``i - neighbours ... i + neighbours`` side by side, with zeros beyond
        the ends of its sentence: what surrounds a sentence does not change it.
        """
        out = np.zeros((self.length, 2 * self.neighbours + 1, self.word), np.float32)
        first = 0
        for sentence in sentences(text):
            for middle, row in enumerate(out[first : first + len(sentence)]):
                for place in range(len(row)):
                    other = middle + place - self.neighbours
                    if 0 <= other < len(sentence):
                        row[place] = word_vector(sentence[other], self.word)
            first += len(sentence)
        return out.reshape(self.length, self.width)

    def sentence(self, text: str) -> Float32[ndarray, "width"]:
        """All of ``text`` as one vector: the mean of its words' tokens.

        Raises:
            ValueError: it has no words.
        """
        count = min(self.length, sum(map(len, sentences(text))))
        if not count:
            raise ValueError(f"an instruction must have words, got {text!r}")
        return np.asarray(self.tokens(text)[:count].mean(axis=0))

    def complaints(self, text: str) -> list[str]:
        """What of ``text`` is cut off, and which of its words were in no text of training."""
        words = [word for sentence in sentences(text) for word in sentence]
        found = []
        if len(words) > self.length:
            cut = f"the last {len(words) - self.length} of its {len(words)} words are cut off"
            found.append(f"the prompt {text[:40]!r}... is too long: {cut}")
        if self.vocabulary and (foreign := sorted(set(words).difference(self.vocabulary))):
            some = ", ".join(map(repr, foreign[:_SHOWN])) + (", ..." if len(foreign) > _SHOWN else "")
            found.append(f"no text that the network was trained on has the words {some}")
        return found


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


def _signs(text: str, width: int) -> Float32[ndarray, "width"]:
    """Plus and minus ones: the bits of a BLAKE2b hash."""
    bits = np.unpackbits(np.frombuffer(blake2b(text.encode(), digest_size=width // 8).digest(), np.uint8))
    return bits.astype(np.float32) * 2 - 1
