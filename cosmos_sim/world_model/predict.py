"""Cosmos-Predict2.5 as a pipeline: text, images and videos to videos of any length."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor, nn

from cosmos_sim.world_model.attention import attention_kernels
from cosmos_sim.world_model.chunks import Chunk, plan_chunks, whole_length
from cosmos_sim.world_model.denoise import SamplingConfig, denoise
from cosmos_sim.world_model.dit import DiT, DiTConfig
from cosmos_sim.world_model.parts import Parts
from cosmos_sim.world_model.prompt_cache import PromptCache
from cosmos_sim.world_model.request import NEGATIVE_PROMPT, Request
from cosmos_sim.world_model.sampler import seeded_noise
from cosmos_sim.world_model.tokenizer import VideoTokenizer

Watch = Callable[[Chunk, int, Float[Tensor, "1 z t i j"]], None]
"""Told, after each evaluation: the chunk, the evaluation's number, and the latents that it points to."""


class Text(Protocol):
    """Prompts to embeddings, zeros for ``None``: a :class:`~cosmos_sim.world_model.text.TextConditioner`."""

    cache: PromptCache | None

    def encode(self, prompts: Sequence[str | None]) -> Float[Tensor, "b l d"]: ...

    def prepare(self, prompts: Sequence[str | None]) -> int: ...


@dataclass(frozen=True)
class PredictConfig:
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


@dataclass(frozen=True)
class Job:
    """A request with all that it leaves to the model filled in, and found possible."""

    request: Request
    sampling: SamplingConfig
    size: tuple[int, int]
    chunks: tuple[Chunk, ...]
    negative_prompt: str | None
    """What is guided away from, where there is guidance."""

    @property
    def frames(self) -> int:
        return self.chunks[-1].start + self.chunks[-1].frames

    @property
    def evaluations(self) -> int:
        return self.sampling.evaluations * len(self.chunks)

    def filled(self) -> Request:
        """The request with what the model's defaults made of it, to repeat it with."""
        guided = self.sampling.guidance > 0
        return replace(
            self.request,
            negative_prompt=self.prompts[1] if guided else None,
            guidance=self.sampling.guidance,
            num_steps=self.sampling.steps,
            resolution=self.size,
            num_output_frames=self.frames,
            chunk_size=max(chunk.frames for chunk in self.chunks) if len(self.chunks) > 1 else self.request.chunk_size,
        )

    @property
    def prompts(self) -> tuple[str | None, ...]:
        """What is to be encoded: the prompt and, with guidance, the negative prompt."""
        if not self.sampling.guidance:
            return (self.request.prompt,)
        return (self.request.prompt, self.negative_prompt)


class Predict:
    """Makes videos from requests.

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
        config: PredictConfig,
        *,
        dit: Callable[[], DiT],
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

    def job(self, request: Request) -> Job:
        """What a request comes to; nothing is loaded or made.

        A video as long as a chunk, or shorter, is made at once, in as many latents as hold it; a longer one chunk after
        chunk.

        Raises:
            ValueError: naming the request: sizes that the network cannot make, a video that needs chunks when it may
                have none, options that the checkpoint's sampling does not have.
        """
        config, cell = self.config, self.config.spatial * self.config.dit.patch[1]
        size = request.resolution or config.size
        if size[0] % cell or size[1] % cell:
            near = " x ".join(str(max(1, round(side / cell)) * cell) for side in size)
            raise request.error(f"resolution {size[0]} x {size[1]} is no multiple of {cell} pixels; {near} is")
        chunk = min(request.chunk_size or config.chunk, config.chunk)
        if request.chunk_size is not None and request.chunk_size > config.chunk:
            raise request.error(f"chunk_size={request.chunk_size}, but the network makes {config.chunk} frames at most")
        if (request.chunk_overlap - 1) % config.temporal:
            raise request.error(
                f"chunk_overlap={request.chunk_overlap} makes no whole latents: 1, {1 + config.temporal}, ... do"
            )
        total = request.num_output_frames or config.chunk
        if request.enable_autoregressive is False:
            chunk = config.chunk
            if total > chunk:
                raise request.error(f"{total} frames are more than the {chunk} of a chunk, and autoregression is off")
        sampling = config.sampling
        try:
            if request.num_steps is not None:
                sampling = replace(sampling, steps=request.num_steps)
            if request.guidance is not None:
                sampling = replace(sampling, guidance=float(request.guidance))
            chunks = plan_chunks(total, chunk=chunk, overlap=request.chunk_overlap, given=request.given)
        except ValueError as error:
            raise request.error(str(error)) from error
        if request.negative_prompt is not None and not sampling.guidance:
            raise request.error("negative_prompt would be ignored: this checkpoint is sampled without guidance")
        if sampling.guidance and config.dit.context_dim is None:
            raise request.error(f"guidance={sampling.guidance} has no text to guide by: the network reads none")
        negative = config.negative_prompt if request.negative_prompt is None else request.negative_prompt
        return Job(request, sampling, size, tuple(chunks), negative)

    def prepare(self, jobs: Sequence[Job]) -> None:
        """Encode the prompts of all jobs into the text's cache, if it has one: its encoder is then loaded once."""
        if self.parts.low_vram:
            self.parts.rest()
        if self.text is not None and self.text.cache is not None:
            self.text.prepare([prompt for job in jobs for prompt in job.prompts])

    def embed(self, job: Job) -> tuple[Tensor | None, Tensor | None]:
        """The embeddings of a job's prompt and of its negative prompt."""
        if self.text is None:
            return None, None
        if self.parts.low_vram:
            self.parts.rest()
        context, *negative = self.text.encode(job.prompts).to(self.device).split(1)
        return context, negative[0] if negative else None

    def video(
        self, job: Job, given: UInt8[ndarray, "t h w c"] | None = None, *, watch: Watch | None = None
    ) -> Iterator[UInt8[ndarray, "t h w c"]]:
        """The frames of a job, chunk after chunk, beginning with ``given`` as the network shows them.

        Each is made when it is asked for, and nothing of it is kept but the frames that the next begins from: memory
        does not grow with the video. Chunk ``i`` draws its noise from the request's seed plus ``i``, as the original.

        Raises:
            ValueError: other frames than the job begins from.
            FloatingPointError: NaN or infinity; the message says in which chunk and evaluation.
        """
        wanted = (job.request.given, *job.size, 3)
        found = None if given is None else given.shape
        if found != (wanted if job.request.given else None):
            raise job.request.error(f"begins from frames of shape {wanted}, not {found}")
        context, negative = self.embed(job)
        for chunk in job.chunks:
            frames = self._chunk(job, chunk, given, context, negative, watch)
            yield frames if chunk.index == 0 else frames[chunk.given :]
            given = frames[-job.request.chunk_overlap :]

    @torch.no_grad()
    def _chunk(
        self,
        job: Job,
        chunk: Chunk,
        given: UInt8[ndarray, "t h w c"] | None,
        context: Tensor | None,
        negative: Tensor | None,
        watch: Watch | None,
    ) -> UInt8[ndarray, "t h w c"]:
        """All frames of one chunk."""
        known = None
        if given is not None:
            pixels = torch.from_numpy(np.ascontiguousarray(given))[None]
            known = self._tokenizer().encode(pixels.to(self.device))
        latents = 1 + (whole_length(chunk.frames, self.config.temporal) - 1) // self.config.temporal
        size = [side // self.config.spatial for side in job.size]
        noise = seeded_noise(
            (1, self.config.dit.latent_channels, latents, *size), (job.request.seed + chunk.index) % 2**32
        )
        network = cast(DiT, self.parts.use("dit"))

        def told(index: int, latent: Tensor) -> None:
            if watch is not None:
                watch(chunk, index, latent)
                self.parts.use("dit")

        try:
            with attention_kernels():
                latent = denoise(
                    network,
                    noise.to(self.device),
                    job.sampling,
                    known=known,
                    context=context,
                    negative=negative,
                    watch=told if watch is not None else None,
                )
        except (FloatingPointError, ValueError) as error:
            where = f"request {job.request.name!r}, chunk {chunk.index + 1} of {len(job.chunks)}"
            raise type(error)(f"{where}: {error}") from error
        return self._tokenizer().decode(latent)[0, : chunk.frames].cpu().numpy()

    def still(self, latent: Float[Tensor, "1 z t i j"]) -> UInt8[ndarray, "h w c"]:
        """The last latent as an image by itself: a quick look at where a video is going."""
        return self._tokenizer().decode(latent[:, :, -1:])[0, 0].cpu().numpy()

    def _tokenizer(self) -> VideoTokenizer:
        return cast(VideoTokenizer, self.parts.use("tokenizer"))
