"""One video, or the videos of one moment's cameras, made anew by a Transfer world: files in, files out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor
from tqdm import tqdm

from cosmos_sim.augmentation.annotator_open import HUB, find_annotator
from cosmos_sim.augmentation.annotators import Annotator
from cosmos_sim.augmentation.control_spec import DEFAULT, ControlSpec
from cosmos_sim.augmentation.control_videos import control_videos, region
from cosmos_sim.data.files import new_file
from cosmos_sim.data.images import stretch
from cosmos_sim.data.video import VIDEOS, read_video
from cosmos_sim.training.video import write_mp4
from cosmos_sim.world_model.chunks import Chunk
from cosmos_sim.world_model.control_video import ControlVideo
from cosmos_sim.world_model.transfer import Transfer
from cosmos_sim.world_model.views import join_views, split_views, whole_size

ALONE = "video"
"""What a world without views calls its one video."""


@dataclass(frozen=True)
class Task:
    """What is to be made of which videos.

    Raises:
        ValueError: no videos, or options that would be ignored.
    """

    videos: tuple[Path, ...]
    """One for each of the world's views, or one that shows all of them side by side."""
    prompt: str | None
    controls: tuple[ControlSpec, ...] = DEFAULT
    files: Mapping[str, Path] | None = None
    """Control videos by kind that are there already, beside each other if there are views; the others are computed."""
    annotator: str | None = None
    """For depth, segments and regions: a name of :func:`~cosmos_sim.augmentation.annotator_open.find_annotator`; the
    world's own, or else the hub's networks, when not given."""
    phrases: tuple[str, ...] = ()
    """The segments that the segmentation shows."""
    keep: str | None = None
    """What stays as it is: a phrase, or a video that is bright there."""
    sigma_max: float | None = None
    options: Mapping[str, Any] | None = None
    """Further arguments of :meth:`~cosmos_sim.world_model.transfer.Transfer.translate`."""

    def __post_init__(self) -> None:
        if not self.videos:
            raise ValueError("there is no video to be made anew")
        kinds = [spec.kind for spec in self.controls]
        for kind in self.files or {}:
            if kind not in kinds:
                raise ValueError(f"the {kind} video would be ignored: the controls are {', '.join(kinds)}")
        if self.annotator is not None and not self.annotated:
            raise ValueError(f"the annotator {self.annotator!r} would be ignored: no control needs one")
        if self.phrases and "seg" not in kinds:
            raise ValueError(f"phrases {self.phrases} would be ignored: there is no seg control")

    @property
    def annotated(self) -> bool:
        """Whether an annotator is needed."""
        computed = [spec for spec in self.controls if spec.kind not in (self.files or {})]
        regions = any(spec.region is not None for spec in self.controls) or (self.keep is not None and not self.mask)
        return regions or any(spec.kind in ("depth", "seg") for spec in computed)

    @property
    def mask(self) -> bool:
        """Whether what is kept is told by a video."""
        return self.keep is not None and Path(self.keep).suffix.lower() in VIDEOS


def transfer_video(
    transfer: Transfer, task: Task, out: Path, *, name: str | None = None, show: bool = False, progress: bool = True
) -> list[Path]:
    """Write ``out/NAME.mp4``, or ``out/NAME.VIEW.mp4`` for each view; lengths, rates and sizes are the source's.

    ``out/NAME.json`` says beside them how they were made.

    Args:
        name: the first video's own when not given.
        show: also write the controls, as ``out/NAME.KIND.mp4``.

    Raises:
        ValueError: videos that are missing, broken, or do not go together or with the world; before anything is made.
        FloatingPointError: the network gave NaN or infinity; the message says where.
    """
    views = transfer.views or (ALONE,)
    sources, fps = read_views(task.videos, views)
    height, width = whole_size(sources, views)
    size = transfer.size_for(height, width)
    controls = _controls(transfer, task, sources, views, size)
    options: dict[str, Any] = {"prompt": task.prompt, "seed": 0, **(task.options or {})}
    if task.keep is not None or task.sigma_max is not None:
        options |= {"source": join_views(sources, views, size=size), "sigma_max": task.sigma_max}
    if task.keep is not None:
        options["keep"] = _kept(transfer, task, sources, views, size)
    frames = len(next(iter(sources.values())))
    with tqdm(total=None, unit="evaluation", disable=not progress) as bar:
        chunks = transfer.chunks(frames, overlap=options.get("overlap", 1))

        def watch(chunk: Chunk, index: int, latent: Float[Tensor, "1 z t i j"]) -> None:
            bar.set_description(f"chunk {chunk.index + 1} of {chunks}")
            bar.update()

        made = np.concatenate([*transfer.translate(controls, **options, watch=watch)])
    name = task.videos[0].stem if name is None else name
    sizes = {view: (video.shape[1], video.shape[2]) for view, video in sources.items()}
    parts = split_views(made, views, sizes=sizes)
    if len(task.videos) == 1:
        written = {out / f"{name}.mp4": np.concatenate([parts[view] for view in views], axis=2)}
    else:
        written = {out / f"{name}.{view}.mp4": parts[view] for view in views}
    if show:
        written |= {out / f"{name}.{kind}.mp4": control.frames for kind, control in controls.items()}
    out.mkdir(parents=True, exist_ok=True)
    for path, video in written.items():
        write_mp4(path, video, fps)
    with new_file(out / f"{name}.json") as partial:
        partial.write_text(json.dumps(_said(task), indent=2) + "\n")
    return [*written]


def read_views(videos: Sequence[Path], views: Sequence[str]) -> tuple[dict[str, UInt8[ndarray, "t _ _ 3"]], float]:
    """The frames of each view, and their rate: of a video each, or of one in which all stand side by side.

    Raises:
        ValueError: another number of videos, or ones of unequal lengths or rates.
    """
    read = [read_video(path) for path in videos]
    rates = {fps for _, fps in read}
    if len(rates) != 1 or len({len(frames) for frames, _ in read}) != 1:
        told = ", ".join(
            f"{path.name} {len(frames)} at {fps:g}" for path, (frames, fps) in zip(videos, read, strict=True)
        )
        raise ValueError(f"the videos have unequal numbers of frames or rates: {told}")
    if len(videos) == 1:
        return split_views(read[0][0], views), rates.pop()
    if len(videos) != len(views):
        raise ValueError(
            f"{len(videos)} videos given; the world has the views {', '.join(views)}: one each, or one of all"
        )
    return {view: frames for view, (frames, _) in zip(views, read, strict=True)}, rates.pop()


def _controls(
    transfer: Transfer,
    task: Task,
    sources: Mapping[str, UInt8[ndarray, "t _ _ 3"]],
    views: Sequence[str],
    size: tuple[int, int],
) -> dict[str, ControlVideo]:
    reader = _annotator(transfer, task) if task.annotated else None
    given = {kind: stretch(read_video(path)[0], size) for kind, path in (task.files or {}).items()}
    return control_videos(
        sources,
        task.controls,
        size=size,
        views=views,
        annotators=None if reader is None else dict.fromkeys(views, reader),
        phrases=task.phrases,
        seed=(task.options or {}).get("seed", 0),
        given=given,
    )


def _kept(
    transfer: Transfer,
    task: Task,
    sources: Mapping[str, UInt8[ndarray, "t _ _ 3"]],
    views: Sequence[str],
    size: tuple[int, int],
) -> Float[ndarray, "t h w"]:
    assert task.keep is not None
    if task.mask:
        return stretch(read_video(Path(task.keep))[0], size).mean(axis=-1, dtype=np.float32) / 255
    reader = _annotator(transfer, task)
    masks = {view: region(video, (task.keep,), reader).astype(np.float32) for view, video in sources.items()}
    return join_views(masks, views, size=size)


def _annotator(transfer: Transfer, task: Task) -> Annotator:
    name = task.annotator or (HUB if transfer.annotator is None else str(transfer.annotator))
    return find_annotator(name, device=transfer.device)


def _said(task: Task) -> dict[str, Any]:
    """The task as JSON."""
    return {
        "videos": [str(path) for path in task.videos],
        "prompt": task.prompt,
        "controls": [str(spec) for spec in task.controls],
        "control_files": {kind: str(path) for kind, path in (task.files or {}).items()},
        "keep": task.keep,
        "sigma_max": task.sigma_max,
        **{name: value for name, value in (task.options or {}).items() if value is not None},
    }
