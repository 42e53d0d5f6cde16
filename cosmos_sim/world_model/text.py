"""Prompts as what the transformer attends to: encoded once, kept on disk, the encoder loaded only when it is needed.

A raw embedding of Predict2.5 has 512 x 100,352 numbers, 103 MB in bf16. Nothing in it can be left out: there is no
mask, padding is attended to, and its vectors depend on the prompt before them. The transformer's first layer for text,
however, makes 512 x 1024 of it. Given that layer, a :class:`TextConditioner` keeps its output: 1 MB a prompt, valid for
these weights of the layer alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cosmos_sim.world_model.prompt_cache import PromptCache, digest


class TextEncoder(Protocol):
    """Prompts to token vectors."""

    length: int
    """Vectors of a prompt."""
    width: int
    """Numbers of a vector."""
    device: torch.device
    dtype: torch.dtype

    def identity(self) -> Mapping[str, str]:
        """All that an embedding depends on beside the prompt, as far as known without any weights."""

    def weights(self) -> str | None:
        """A fingerprint of the weights; ``None`` where they are not at hand."""

    def encode(self, prompts: Sequence[str]) -> Float[Tensor, "b length width"]:
        """The embeddings, on ``device`` in ``dtype``; loads the weights if need be."""

    def release(self) -> None:
        """Give back the memory of the weights; the next call loads them again."""


class TextConditioner:
    """Embeds prompts for a transformer.

    A prompt of ``None`` is text dropped out, as in training: the zero embedding. It, and whatever the cache holds,
    needs no encoder. The empty string is a prompt like any other; so is a negative prompt.

    Args:
        encoder: makes the raw embeddings.
        cache: folder of embeddings that are kept; none without it.
        projection: the transformer's own layer for raw embeddings (``DiT.crossattn_proj``). With it the conditioner
            gives, and keeps, projected ones, on the layer's device in the layer's type.
        keep: hold the encoder in memory from call to call instead of releasing it after each.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        *,
        cache: Path | None = None,
        projection: nn.Module | None = None,
        keep: bool = False,
    ) -> None:
        self.encoder = encoder
        self.cache = PromptCache(cache) if cache is not None else None
        self.projection = projection
        self.keep = keep

    @torch.no_grad()
    def encode(self, prompts: Sequence[str | None]) -> Float[Tensor, "b length width"]:
        """The embeddings of ``prompts``, in order.

        Raises:
            ValueError: there are no prompts, or one is no string, or the encoder is needed and its weights are missing.
        """
        self._check(prompts)
        found: dict[str | None, Tensor] = {}
        identity = self._identity()
        try:
            for prompt in prompts:
                if prompt not in found:
                    found[prompt] = self._embed(prompt, identity)
        finally:
            if not self.keep:
                self.encoder.release()
        return torch.stack([found[prompt] for prompt in prompts])

    @torch.no_grad()
    def prepare(self, prompts: Sequence[str | None]) -> int:
        """Bring all prompts into the cache, loading the encoder once or not at all; returns how many were missing.

        Raises:
            ValueError: as :meth:`encode`, or there is no cache.
        """
        missing, identity = self.missing(prompts), self._identity()
        try:
            for text in missing:
                self._embed(text, identity)
        finally:
            if not self.keep:
                self.encoder.release()
        return len(missing)

    def missing(self, prompts: Sequence[str | None]) -> list[str]:
        """The prompts, each once, that the cache does not hold.

        Raises:
            ValueError: as :meth:`prepare`.
        """
        if self.cache is None:
            raise ValueError("prompts can be prepared only for a cache, and this conditioner has none")
        self._check(prompts)
        identity, weights = self._identity(), self.encoder.weights()
        texts = dict.fromkeys(prompt for prompt in prompts if prompt is not None)
        return [text for text in texts if not self.cache.has(identity, text, weights=weights)]

    def _embed(self, prompt: str | None, identity: Mapping[str, str]) -> Float[Tensor, "length width"]:
        encoder = self.encoder
        if prompt is None:
            return self._project(torch.zeros(encoder.length, encoder.width, dtype=encoder.dtype, device=encoder.device))
        if self.cache is not None:
            kept = self.cache.load(identity, prompt, weights=encoder.weights(), device=self.device)
            if kept is not None:
                return kept
        embedding = self._project(encoder.encode([prompt])[0])
        if self.cache is not None:
            self.cache.save(identity, prompt, embedding, weights=encoder.weights())
        return embedding

    def _project(self, raw: Float[Tensor, "length raw"]) -> Float[Tensor, "length width"]:
        if self.projection is None:
            return raw
        weight = next(self.projection.parameters())
        return self.projection(raw.to(device=weight.device, dtype=weight.dtype))

    def _identity(self) -> Mapping[str, str]:
        identity = dict(self.encoder.identity())
        return identity if self.projection is None else {**identity, "projection": digest(self.projection)}

    @property
    def device(self) -> torch.device:
        """Where embeddings lie."""
        return self.encoder.device if self.projection is None else next(self.projection.parameters()).device

    @staticmethod
    def _check(prompts: Sequence[str | None]) -> None:
        if isinstance(prompts, str) or not prompts:
            raise ValueError(f"prompts must be a list of one or more, not {prompts!r}")
        for prompt in prompts:
            if prompt is not None and not isinstance(prompt, str):
                raise ValueError(f"a prompt must be a string or None, not {prompt!r}")
