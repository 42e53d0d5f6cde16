"""A network, a tokenizer and text that make videos chunk after chunk: what Predict2.5 and Transfer2.5 share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor, nn

from cosmos_sim.data.images import stretch
from cosmos_sim.world_model.anchor import Anchor
from cosmos_sim.world_model.attention import attention_kernels
from cosmos_sim.world_model.chunks import Chunk, plan_chunks, reflected, whole_length
from cosmos_sim.world_model.control_video import check_frames
from cosmos_sim.world_model.denoise import Network, SamplingConfig, denoise
from cosmos_sim.world_model.dit import DiTConfig
from cosmos_sim.world_model.parts import Parts
from cosmos_sim.world_model.prompt_cache import PromptCache
from cosmos_sim.world_model.request import NEGATIVE_PROMPT
from cosmos_sim.world_model.sampler import seeded_noise
from cosmos_sim.world_model.tokenizer import VideoTokenizer
from cosmos_sim.world_model.views import join_views, split_views

Watch = Callable[[Chunk, int, Float[Tensor, "1 z t i j"]], None]
"""Told, after each evaluation: the chunk, the evaluation's number, and the latents that it points to."""


class Text(Protocol):
    """Prompts to embeddings, zeros for ``None``: a :class:`~cosmos_sim.world_model.text.TextConditioner`."""

    cache: PromptCache | None

    def encode(self, prompts: Sequence[str | None]) -> Float[Tensor, "b l d"]: ...

    def prepare(self, prompts: Sequence[str | None]) -> int: ...


@dataclass(frozen=True)
class PipelineConfig:
    """What is known of a pipeline before any of its weights are read."""

    dit: DiTConfig
    sampling: SamplingConfig
    temporal: int = 4
    """Frames in a latent after the first, which holds one."""
    spatial: int = 8
    """Pixels in a latent, in height and in width."""
    chunk: int = 93
    """Frames that the network was trained to make at once."""
    size: tuple[int, int] = (704, 1280)
    """Height and width of the videos it was trained on."""
    negative_prompt: str | None = NEGATIVE_PROMPT
    """What is guided away from unless told otherwise; ``None`` is text left out."""

    def __post_init__(self) -> None:
        if self.dit.action_dim is not None:
            raise ValueError("this network is conditioned on actions, which no request has: see PredictWorld")

    def check_overlap(self, overlap: int) -> None:
        """Raises a ValueError unless ``overlap`` frames make whole latents."""
        if overlap < 1 or (overlap - 1) % self.temporal:
            raise ValueError(f"chunk_overlap={overlap} makes no whole latents: 1, {1 + self.temporal}, ... do")


class Pipeline:
    """Makes chunks of video.

    Args:
        config: sizes and sampling.
        dit: makes the network; called when it is first needed. So with ``tokenizer``.
        tokenizer: makes a :class:`VideoTokenizer`.
        text: embeds prompts, loading its encoder when it must; not needed for a network without cross-attention.
        device: where everything is computed.
        low_vram: whether the networks are on the device one after another instead of together.
    """

    def __init__(
        self,
        config: PipelineConfig,
        *,
        dit: Callable[[], nn.Module],
        tokenizer: Callable[[], nn.Module],
        text: Text | None,
        device: torch.device,
        low_vram: bool = False,
    ) -> None:
        if (text is None) != (config.dit.context_dim is None):
            raise ValueError(
                f"text given: {text is not None}, but the network has context_dim={config.dit.context_dim}"
            )
        self.config, self.text, self.device = config, text, device
        self.parts = Parts({"dit": dit, "tokenizer": tokenizer}, device=device, low_vram=low_vram)

    def embed(self, prompts: Sequence[str | None]) -> tuple[Tensor | None, Tensor | None]:
        """The embeddings of a prompt and, if a second is given, of the negative one; of none without a text encoder."""
        if self.text is None:
            return None, None
        if self.parts.low_vram:
            self.parts.rest()
        context, *negative = self.text.encode(prompts).to(self.device).split(1)
        return context, negative[0] if negative else None

    @torch.no_grad()
    def make(
        self,
        frames: int,
        size: tuple[int, int],
        sampling: SamplingConfig,
        *,
        seed: int,
        given: UInt8[ndarray, "t h w c"] | None = None,
        context: Tensor | None = None,
        negative: Tensor | None = None,
        anchor: Anchor | None = None,
        network: Callable[[nn.Module], Network] = lambda dit: cast(Network, dit),
        opposite: Callable[[nn.Module], Network] | None = None,
        watch: Callable[[int, Tensor], None] | None = None,
    ) -> UInt8[ndarray, "frames h w c"]:
        """One chunk of a video, in as many latents as hold it.

        Args:
            frames: how many, with those that are ``given``, which it begins with.
            seed: of the noise, taken modulo 2^32.
            network: what is sampled, made of the network when that is on the device.
            opposite: what the second pass of guidance calls, where that is something else; made in the same way.
            watch: as of :func:`~cosmos_sim.world_model.denoise.denoise`.
        """
        known = None if given is None else self.encode(given)
        latents = 1 + (whole_length(frames, self.config.temporal) - 1) // self.config.temporal
        shape = (1, self.config.dit.latent_channels, latents, *(side // self.config.spatial for side in size))
        noise = seeded_noise(shape, seed % 2**32)
        dit = self.parts.use("dit")

        def told(index: int, latent: Tensor) -> None:
            if watch is not None:
                watch(index, latent)
                self.parts.use("dit")

        with attention_kernels():
            latent = denoise(
                network(dit),
                noise.to(self.device),
                sampling,
                known=known,
                context=context,
                negative=negative,
                anchor=anchor,
                opposite=None if opposite is None else opposite(dit),
                watch=told if watch is not None else None,
            )
        return self.tokenizer.decode(latent)[0, :frames].cpu().numpy()

    def roll(
        self,
        chunks: Sequence[Chunk],
        prompts: Sequence[str | None],
        given: UInt8[ndarray, "t h w c"] | None,
        *,
        size: tuple[int, int],
        sampling: SamplingConfig,
        seed: int,
        overlap: int = 1,
        network: Callable[[nn.Module], Network] = lambda dit: cast(Network, dit),
        where: str = "",
        watch: Watch | None = None,
    ) -> Iterator[UInt8[ndarray, "t h w c"]]:
        """A video chunk after chunk, each from the last ``overlap`` frames of the one before; the first from ``given``.

        Each is made when it is asked for, and memory does not grow with the video. Chunk ``i`` draws its noise from
        ``seed + i``.

        Args:
            prompts: as of :meth:`embed`.
            where: what messages of errors begin with.

        Raises:
            FloatingPointError: NaN or infinity; the message says in which chunk and evaluation.
        """
        context, negative = self.embed(prompts)
        for chunk in chunks:

            def told(index: int, latent: Tensor, chunk: Chunk = chunk) -> None:
                if watch is not None:
                    watch(chunk, index, latent)

            try:
                frames = self.make(
                    chunk.frames,
                    size,
                    sampling,
                    seed=seed + chunk.index,
                    given=given,
                    context=context,
                    negative=negative,
                    network=network,
                    watch=None if watch is None else told,
                )
            except (FloatingPointError, ValueError) as error:
                raise type(error)(f"{where}chunk {chunk.index + 1} of {len(chunks)}: {error}") from error
            yield frames if chunk.index == 0 else frames[chunk.given :]
            given = frames[-overlap:]

    def continued(
        self,
        given: UInt8[ndarray, "t h w 3"],
        *,
        prompt: str | None,
        seed: int,
        frames: int,
        guidance: float | None = None,
        steps: int | None = None,
    ) -> Iterator[UInt8[ndarray, "t h w 3"]]:
        """A video of ``frames`` frames that begins with ``given`` and goes on as ``prompt`` says.

        The pieces joined are the whole, at the size of ``given``. Chunk ``i`` draws its noise from ``seed + i``.

        Args:
            prompt: what happens; ``None`` is text left out.
            guidance: strength of guidance by the prompt: 0 is none; the model's own when not given.
            steps: of sampling; the model's own when not given.

        Raises:
            ValueError: frames that make no whole latents, or leave nothing to make; options that would be ignored.
            FloatingPointError: while frames are made: NaN or infinity.
        """
        check_frames(given, "what is given")
        self.config.check_overlap(len(given))
        sampling = self.sampling(steps, guidance)
        if prompt is not None and self.text is None:
            raise ValueError(f"prompt={prompt!r} would be ignored: the network reads no text")
        shown = (given.shape[1], given.shape[2])
        made = self.size_for(*shown)
        pieces = self.roll(
            plan_chunks(frames, chunk=self.config.chunk, overlap=1, given=len(given)),
            (prompt, self.config.negative_prompt) if sampling.guidance else (prompt,),
            stretch(given, made),
            size=made,
            sampling=sampling,
            seed=seed,
            network=self.uncontrolled,
        )
        return (stretch(piece, shown) for piece in pieces)

    def sampling(self, steps: int | None = None, guidance: float | None = None) -> SamplingConfig:
        """How a video is sampled: as the model is, but for what is given."""
        sampling = self.config.sampling
        if steps is not None:
            sampling = replace(sampling, steps=steps)
        if guidance is not None:
            sampling = replace(sampling, guidance=float(guidance))
        if sampling.guidance and self.text is None:
            raise ValueError(f"guidance={sampling.guidance} has no text to guide by: the network reads none")
        return sampling

    def size_for(self, height: int, width: int) -> tuple[int, int]:
        """The size at which a video of so many pixels is made."""
        return self.config.size

    @property
    def views(self) -> tuple[str, ...] | None:
        """Cameras that stand side by side in a frame; one video alone if ``None``."""
        return None

    def uncontrolled(self, dit: nn.Module) -> Network:
        """What is sampled where nothing but frames and text is given."""
        return cast(Network, dit)

    @torch.no_grad()
    def encode(self, frames: UInt8[ndarray, "t h w c"]) -> Float[Tensor, "1 z l i j"]:
        """The latents of frames, on the device."""
        pixels = torch.from_numpy(np.ascontiguousarray(frames))[None]
        return self.tokenizer.encode(pixels.to(self.device))

    def reconstructed(self, videos: Mapping[str, UInt8[ndarray, "t _ _ 3"]]) -> dict[str, UInt8[ndarray, "t _ _ 3"]]:
        """What the tokenizer leaves of the cameras' videos, chunk by chunk, at the size of this model and back."""
        sizes = {camera: (video.shape[1], video.shape[2]) for camera, video in videos.items()}
        if self.views is not None:
            whole = self._coded(join_views(videos, self.views, size=self.config.size))
            return split_views(whole, self.views, sizes=sizes)
        return {
            camera: stretch(self._coded(stretch(video, self.size_for(*sizes[camera]))), sizes[camera])
            for camera, video in videos.items()
        }

    def _coded(self, frames: UInt8[ndarray, "t h w 3"]) -> UInt8[ndarray, "t h w 3"]:
        chunk, pieces = self.config.chunk, []
        for start in range(0, len(frames), chunk):
            latent = self.encode(frames[reflected(start, chunk, len(frames))])
            pieces.append(self.tokenizer.decode(latent)[0].cpu().numpy())
        return np.concatenate(pieces)[: len(frames)]

    def still(self, latent: Float[Tensor, "1 z t i j"]) -> UInt8[ndarray, "h w c"]:
        """The last latent as an image by itself: a quick look at where a video is going."""
        return self.tokenizer.decode(latent[:, :, -1:])[0, 0].cpu().numpy()

    @property
    def tokenizer(self) -> VideoTokenizer:
        """The tokenizer, on the device."""
        return cast(VideoTokenizer, self.parts.use("tokenizer"))
