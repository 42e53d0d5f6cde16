"""Captions as embeddings, every one of them encoded once, before training begins."""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

from jaxtyping import Float
from torch import Tensor

from cosmos_sim.world_model.predict import Text

KEPT = 4
"""Embeddings held in memory: 103 MB each as released."""


class Captions:
    """Embeddings of captions, on the CPU, to be asked for from several threads.

    Args:
        text: embeds them; what its cache holds needs no encoder.
        captions: all that will be asked for. Those that the cache lacks are encoded now.

    Raises:
        ValueError: the encoder is needed and its weights are missing.
    """

    def __init__(self, text: Text, captions: Sequence[str]) -> None:
        self.text = text
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
