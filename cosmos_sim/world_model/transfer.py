"""Cosmos-Transfer2.5 as a pipeline: a video is made anew along the edges, blur, depth or segments of another.

Long videos are made chunk after chunk, each from the last frames of the one before as they were shown (uint8), as in
the released inference; the controls of the last chunk go on with the video played backwards, and its frames are cut to
the video's own length.
"""

import difflib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor, nn

from cosmos_sim.data.clip_buckets import choose_size
from cosmos_sim.data.images import stretch
from cosmos_sim.world_model.anchor import Anchor, check_sigma_max
from cosmos_sim.world_model.checkpoints.control import Branch, Controls
from cosmos_sim.world_model.checkpoints.network import Network
from cosmos_sim.world_model.checkpoints.stored import StoredTensor
from cosmos_sim.world_model.chunks import Chunk, plan_chunks, reflected, whole_length
from cosmos_sim.world_model.control import KINDS, BoundNetwork, ControlBranch, ControlledDiT
from cosmos_sim.world_model.control_video import ControlVideo, check_frames, check_mask
from cosmos_sim.world_model.control_weights import Control, token_weights
from cosmos_sim.world_model.pipeline import Pipeline, PipelineConfig, Text, Watch
from cosmos_sim.world_model.text import TextConditioner
from cosmos_sim.world_model.tokenizer import Tokenizer
from cosmos_sim.world_model.transfer_folder import TransferSettings, save_transfer
from cosmos_sim.world_model.wan import WanTokenizer
from cosmos_sim.world_model.words import Words


@dataclass(frozen=True)
class TransferConfig(PipelineConfig):
    """What is known of a Transfer world before any of its weights are read."""

    kinds: tuple[str, ...] = KINDS
    """The controls that it has branches for."""
    sizes: tuple[tuple[int, int], ...] = ()
    """Further heights and widths that it was trained at; a video is made in the one whose shape is nearest."""
    views: tuple[str, ...] | None = None
    """Cameras that stand side by side in its frames, from left to right, all as wide; one video alone if ``None``."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Data, commands and figures of the training runs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        cell = self.spatial * self.dit.patch[1]
        for height, width in (self.size, *self.sizes):
            if height % cell or width % cell or min(height, width) < cell:
                raise ValueError(f"size {height} x {width} is no multiple of {cell} pixels")
        if self.views is not None and (not self.views or self.size[1] % len(self.views) or self.sizes):
            raise ValueError(f"views {self.views} do not stand side by side in one size {(self.size, *self.sizes)}")
        if self.chunk < 2 or whole_length(self.chunk, self.temporal) != self.chunk:
            raise ValueError(f"a chunk of {self.chunk} frames makes no whole latents of 1 + {self.temporal} n, n > 0")


class Transfer(Pipeline):
    """A controlled network with its tokenizer and text; see :class:`Pipeline` for what it is made of.

    Args:
        dit: makes a :class:`~cosmos_sim.world_model.control.ControlledDiT`.
        annotator: folder of a network that reads depth and segments off frames like those of this world.
    """

    config: TransferConfig

    def __init__(
        self,
        config: TransferConfig,
        *,
        dit: Callable[[], nn.Module],
        tokenizer: Callable[[], nn.Module],
        text: Text | None,
        device: torch.device,
        low_vram: bool = False,
        annotator: Path | None = None,
    ) -> None:
        super().__init__(config, dit=dit, tokenizer=tokenizer, text=text, device=device, low_vram=low_vram)
        self.annotator = annotator

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str] = "transfer", **options: Any) -> "Transfer":
        """A Transfer world by its shipped name, folder or hub id; ``options`` as of ``load_transfer``.

        Raises:
            ValueError: no such world, or a damaged or foreign one.
        """
        from cosmos_sim.world_model.load_transfer import load_transfer  # which imports this class

        return load_transfer(os.fspath(name), **options)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the world's folder, whole or not at all; the networks in the type that they are held in.

        A text encoder that is no part of the world (Cosmos-Reason1) is not written.
        """
        dit = cast(ControlledDiT, self.parts.use("dit"))
        branches = {
            kind: Branch(branch.config, branch.base, stored(branch))
            for kind, branch in cast(Mapping[str, ControlBranch], dit.branches).items()
        }
        encoder = self.text.encoder if isinstance(self.text, TextConditioner) else None
        save_transfer(
            TransferSettings(**{f.name: getattr(self.config, f.name) for f in fields(TransferSettings)}),
            Controls(branches, Network(dit.config, stored(dit.base))),
            cast(WanTokenizer | Tokenizer, self.tokenizer),
            Path(folder),
            words=encoder if isinstance(encoder, Words) else None,
            annotator=self.annotator,
        )

    def uncontrolled(self, dit: nn.Module) -> BoundNetwork:
        """The network with none of its controls."""
        return cast(ControlledDiT, dit).bound({})

    @property
    def views(self) -> tuple[str, ...] | None:
        """The cameras in a frame; join and split them with :mod:`cosmos_sim.world_model.views`."""
        return self.config.views

    def size_for(self, height: int, width: int) -> tuple[int, int]:
        """The size at which a video of so many pixels is made; compute controls from frames stretched to it."""
        return choose_size((height, width), (self.config.size, *self.config.sizes))

    def translate(
        self,
        controls: Mapping[str, ControlVideo],
        *,
        prompt: str | None,
        seed: int,
        negative_prompt: str | None = None,
        guidance: float | None = None,
        steps: int | None = None,
        source: UInt8[ndarray, "t h w 3"] | None = None,
        keep: Float[ndarray, "t h w"] | None = None,
        keep_steps: int | None = None,
        sigma_max: float | None = None,
        overlap: int = 1,
        image_context: Float[Tensor, "1 m e"] | None = None,
        size: tuple[int, int] | None = None,
        watch: Watch | None = None,
    ) -> Iterator[UInt8[ndarray, "t h w 3"]]:
        """A video of the length of its controls, chunk after chunk; the pieces joined are the whole.

        Everything is checked at once; frames are made when they are asked for, and none is kept but those that the
        next chunk begins from. Chunk ``i`` draws its noise from ``seed + i``.

        Args:
            controls: by kind, all of one length and size. One with weight 0 is as good as none, bit for bit, but says
                how long the video is.
            prompt: what is to be seen; ``None`` is text left out.
            negative_prompt: what to guide away from; the model's own when not given.
            guidance: strength of guidance by the prompt: 0 is none; the model's own when not given.
            steps: of sampling; the model's own when not given.
            source: the video to be changed, for ``keep`` and ``sigma_max``.
            keep: 1 where the source stays as it is, 0 where it is made anew.
            keep_steps: the last step, from 0, that holds what is kept; 25, as released, when not given.
            sigma_max: the noise level, up to 1, that the source is brought to and begun from: the lower, the nearer.
            overlap: last frames of a chunk that the next begins from: 1, or as many as make whole latents.
            image_context: tokens of an image whose style is to be taken, for a network that reads one. Guidance leads
                towards it too: its second pass is without the image, as in the released code.
            size: height and width of the frames that are returned; those of the controls when not given.
            watch: told after every evaluation.

        Raises:
            ValueError: naming what is wrong: a control that the model has no branch for, videos that do not fit each
                other, options that would be ignored.
            FloatingPointError: while frames are made: NaN or infinity; the message says in which chunk and evaluation.
        """
        total, height, width = self._check(controls, source, keep, sigma_max)
        self.config.check_overlap(overlap)
        sampling = self.sampling(steps, guidance)
        if prompt is not None and self.text is None:
            raise ValueError(f"prompt={prompt!r} would be ignored: the network reads no text")
        if negative_prompt is not None and not sampling.guidance:
            raise ValueError(f"negative_prompt={negative_prompt!r} would be ignored without guidance")
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed must lie in 0 .. 2^32 - 1, not {seed}")
        if size is not None and min(size) < 1:
            raise ValueError(f"size must be positive, not {size[0]} x {size[1]}")
        if keep_steps is not None and keep is None:
            raise ValueError(f"keep_steps={keep_steps} would be ignored: nothing is kept")
        keep_steps = Anchor.keep_steps if keep_steps is None else keep_steps
        if keep_steps < 0:
            raise ValueError(f"keep_steps must be 0 or more, not {keep_steps}")
        if image_context is not None:
            image_context = self._image(image_context)
        chunks = plan_chunks(total, chunk=self.config.chunk, overlap=overlap, given=0)
        negative = self.config.negative_prompt if negative_prompt is None else negative_prompt
        prompts = (prompt, negative) if sampling.guidance else (prompt,)
        made, shown = self.size_for(height, width), size or (height, width)
        heard = {kind: video for kind, video in controls.items() if video.weight or video.mask is not None}

        def pieces() -> Iterator[UInt8[ndarray, "t h w 3"]]:
            context, opposite = self.embed(prompts)
            given: UInt8[ndarray, "t h w 3"] | None = None
            for chunk in chunks:
                window = reflected(chunk.start, self.config.chunk, total)
                anchor = None
                if source is not None:
                    anchor = self._anchor(source[window], keep, window, made, sigma_max, keep_steps)
                bound = {kind: self._control(video, window, made) for kind, video in heard.items()}

                def network(dit: nn.Module, bound: Mapping[str, Control] = bound) -> BoundNetwork:
                    return cast(ControlledDiT, dit).bound(bound, image_context=image_context)

                def unstyled(dit: nn.Module, bound: Mapping[str, Control] = bound) -> BoundNetwork:
                    return cast(ControlledDiT, dit).bound(bound)

                def told(index: int, latent: Tensor, chunk: Chunk = chunk) -> None:
                    if watch is not None:
                        watch(chunk, index, latent)

                try:
                    frames = self.make(
                        self.config.chunk,
                        made,
                        sampling,
                        seed=seed + chunk.index,
                        given=given,
                        context=context,
                        negative=opposite,
                        anchor=anchor,
                        network=network,
                        opposite=unstyled if image_context is not None and sampling.guidance else None,
                        watch=None if watch is None else told,
                    )[: chunk.frames]
                except (FloatingPointError, ValueError) as error:
                    raise type(error)(f"chunk {chunk.index + 1} of {len(chunks)}: {error}") from error
                yield stretch(frames[chunk.given :], shown)
                given = frames[-overlap:]

        return pieces()

    def chunks(self, frames: int, *, overlap: int = 1) -> int:
        """In how many chunks a video of so many frames is made."""
        return len(plan_chunks(frames, chunk=self.config.chunk, overlap=overlap, given=0))

    def _control(self, video: ControlVideo, window: ndarray, size: tuple[int, int]) -> Control:
        latent = self.encode(stretch(video.frames[window], size))
        if video.mask is None:
            return Control(latent, video.weight)
        grid = [length // patch for length, patch in zip(latent.shape[2:], self.config.dit.patch, strict=True)]
        return Control(latent, video.weight, self._resized(video.mask[window], (grid[0], grid[1], grid[2]))[None])

    def _anchor(
        self,
        source: UInt8[ndarray, "t h w 3"],
        keep: Float[ndarray, "t h w"] | None,
        window: ndarray,
        size: tuple[int, int],
        sigma_max: float | None,
        keep_steps: int,
    ) -> Anchor:
        latent = self.encode(stretch(source, size))
        kept = None
        if keep is not None:
            t, h, w = latent.shape[2:]
            kept = self._resized(keep[window], (t, h, w))[None, None]
        return Anchor(latent, sigma_max=sigma_max, keep=kept, keep_steps=keep_steps)

    def _image(self, tokens: Float[Tensor, "1 m e"]) -> Float[Tensor, "1 m e"]:
        """The tokens of a style image, on the device, if the network reads such."""
        dim = self.config.dit.image_dim
        if dim is None:
            raise ValueError("image_context would be ignored: the network reads no image")
        if tokens.ndim != 3 or len(tokens) != 1 or tokens.shape[2] != dim:
            raise ValueError(f"image_context has shape {tuple(tokens.shape)}, expected {(1, 'any', dim)}")
        return tokens.to(self.device)

    def _resized(self, mask: Float[ndarray, "t h w"], grid: tuple[int, int, int]) -> Float[Tensor, "t h w"]:
        return token_weights(torch.from_numpy(mask.astype(np.float32)).to(self.device), tokens=grid)

    def _check(
        self,
        controls: Mapping[str, ControlVideo],
        source: UInt8[ndarray, "t h w 3"] | None,
        keep: Float[ndarray, "t h w"] | None,
        sigma_max: float | None,
    ) -> tuple[int, int, int]:
        """Frames, height and width of what is to be made."""
        for kind in controls:
            if kind not in self.config.kinds:
                near = difflib.get_close_matches(kind, self.config.kinds, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self.config.kinds)}"
                raise ValueError(f"no branch for the control {kind!r}: {hint}")
        shapes = {kind: video.frames.shape[:3] for kind, video in controls.items()}
        if source is not None:
            check_frames(source, "the source")
            shapes["source"] = source.shape[:3]
        if not shapes:
            raise ValueError("give at least one control: one of weight 0 says how long the video is")
        if len(set(shapes.values())) != 1:
            raise ValueError(f"controls and source have unequal shapes t h w: {shapes}")
        if source is None and (keep is not None or sigma_max is not None):
            raise ValueError("keep and sigma_max need the source, which is not given")
        if source is not None and keep is None and sigma_max is None:
            raise ValueError("the source would be ignored: neither keep nor sigma_max is given")
        check_sigma_max(sigma_max)
        t, h, w = next(iter(shapes.values()))
        if keep is not None:
            check_mask(keep, (t, h, w), "keep")
        return t, h, w


def stored(module: nn.Module) -> dict[str, StoredTensor]:
    """The weights of a module, brought to the host one by one as they are read."""
    return {name: StoredTensor(tuple(t.shape), t.dtype, t.cpu) for name, t in module.state_dict().items()}
