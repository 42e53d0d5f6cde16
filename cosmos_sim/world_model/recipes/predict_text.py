"""Captions as embeddings: those of Cosmos-Reason1 encoded once, before training begins, those of words at each use."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from jaxtyping import Float
from torch import Tensor

from cosmos_sim.world_model.pipeline import Text
from cosmos_sim.world_model.reason1 import Reason1, Reason1Config
from cosmos_sim.world_model.text import TextConditioner
from cosmos_sim.world_model.words import Words, WordsConfig, find_words

WORDS = "words"
"""The name of the encoder that needs no weights."""

KEPT = 4
"""Embeddings held in memory: 103 MB each as released."""


class Captions:
    """Embeddings of captions, on the CPU, to be asked for from several threads.

    Args:
        text: embeds them; what its cache holds needs no encoder.
        captions: all that will be asked for. Those that the cache lacks are encoded now.
        words: the encoder, where it is one that goes with the network.

    Raises:
        ValueError: the encoder is needed and its weights are missing.
    """

    def __init__(self, text: Text, captions: Sequence[str], *, words: Words | None = None) -> None:
        self.text, self.words = text, words
        if text.cache is not None and captions:
            text.prepare(captions)
        self.zeros = text.encode([None])[0].cpu()
        """The embedding of a text left out."""
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = Lock()

    def embedding(self, caption: str) -> Float[Tensor, "l d"]:
        with self._lock:
            if caption not in self._kept:
                self._kept[caption] = self.text.encode([caption])[0].cpu()
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(caption)
            return self._kept[caption]


def words_for(init: Path | None) -> Words:
    """The encoder of a network that is trained with words: that of the checkpoint it begins from, or a new one."""
    return (None if init is None else find_words(init)) or Words(WordsConfig())


def words_captions(words: Words, captions: Sequence[str], *, width: int | None) -> Captions:
    """Embeddings by ``words``, whose vocabulary gains those of ``captions``.

    Args:
        width: of the embeddings that the network reads.

    Raises:
        ValueError: the network reads others, or none.
    """
    if width != words.width:
        reads = "no text" if width is None else f"text of another encoder, with vectors of {width}"
        raise ValueError(f"text_encoder={WORDS!r} makes vectors of {words.width}, but the network reads {reads}")
    words = Words(words.config.knowing(captions))
    return Captions(TextConditioner(words), captions, words=words)


def reason1_captions(
    model: str, captions: Sequence[str], *, width: int | None, cache: Path, device: str, processes: int
) -> Captions:
    """Embeddings by Cosmos-Reason1, encoded now where the cache lacks them.

    Args:
        model: its folder or hub id.
        width: of the embeddings that the network reads.
        processes: how many train together; encoding is for one.

    Raises:
        ValueError: the network reads no text, the encoder is needed and missing, or needed by several processes.
    """
    if width is None:
        raise ValueError("text_encoder would be ignored: the network reads no text")
    config = Reason1Config(model, width=width)
    encoder = TextConditioner(Reason1(config, device=device), cache=cache)
    if processes > 1 and (missing := encoder.missing(captions)):
        raise ValueError(
            f"{len(missing)} captions are not encoded yet (first: {missing[0]!r}): call this once in one process, with "
            "--prepare-text"
        )
    encoder.prepare(captions)
    return Captions(TextConditioner(Reason1(config, device="cpu"), cache=cache), captions)
