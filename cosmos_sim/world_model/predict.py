"""Cosmos-Predict2.5 as a pipeline: text, images and videos to videos of any length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from jaxtyping import UInt8
from numpy import ndarray

from cosmos_sim.world_model.chunks import Chunk, plan_chunks
from cosmos_sim.world_model.denoise import SamplingConfig
from cosmos_sim.world_model.pipeline import Pipeline, Watch
from cosmos_sim.world_model.request import Request


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


class Predict(Pipeline):
    """Makes videos from requests; see :class:`Pipeline` for what it is made of."""

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
        total = request.num_output_frames or config.chunk
        if request.enable_autoregressive is False:
            chunk = config.chunk
            if total > chunk:
                raise request.error(f"{total} frames are more than the {chunk} of a chunk, and autoregression is off")
        sampling = config.sampling
        try:
            config.check_overlap(request.chunk_overlap)
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
        yield from self.roll(
            job.chunks,
            job.prompts,
            given,
            size=job.size,
            sampling=job.sampling,
            seed=job.request.seed,
            overlap=job.request.chunk_overlap,
            where=f"request {job.request.name!r}, ",
            watch=watch,
        )
