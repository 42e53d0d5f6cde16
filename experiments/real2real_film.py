"""Videos of the trials of real2real.py: they are carried out again, since trials keep actions and not pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from animation import save
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from cosmos_sim.data.files import new_folder
from cosmos_sim.envs.twin.simulation import FPS
from cosmos_sim.evaluation.clip import beside, mp4
from cosmos_sim.evaluation.trials import Trial, TwinTrials

_SIDE, _GAP, _LABEL, _CAPTION = 96, 4, 70, 18
_SUCCESS, _FAILURE = (26, 122, 87), (190, 60, 50)


def film_trials(trials: Mapping[tuple[str, int, str], Sequence[Trial]], twin: TwinTrials, folder: Path) -> None:
    """The first success and the first failure of each arm in each scene, as MP4 files in place of all in ``folder``."""
    chosen: dict[str, tuple[str, Trial]] = {}
    for (arm, _, scene), kept in trials.items():
        for trial in kept:
            name = f"{scene}-{arm}-{'success' if trial.success else 'failure'}.mp4"
            chosen.setdefault(name, (scene, trial))
    with new_folder(folder) as partial:
        for name, (scene, trial) in chosen.items():
            (partial / name).write_bytes(mp4(beside(twin.film(trial, scene=scene)), fps=FPS))


def film_grid(trials: Mapping[str, Mapping[str, Sequence[Trial]]], twin: TwinTrials, path: Path) -> None:
    """The first trial of one policy of each arm (rows) in each scene (columns), from the same start, as animated WebP.

    A green frame tells success, a red one that the time was up; who is done early stands still.
    """
    camera = next(iter(twin.twin.observation_space["pixels"].spaces))  # type: ignore[index]
    rows = {
        arm: {scene: (twin.film(kept[0], scene=scene)[camera], kept[0].success) for scene, kept in scenes.items()}
        for arm, scenes in trials.items()
    }
    longest = max(len(video) for row in rows.values() for video, _ in row.values())
    save(path, (_frame(rows, k) for k in range(longest + FPS)), quality=60)


def _frame(rows: Mapping[str, Mapping[str, tuple[ndarray, bool]]], step: int) -> UInt8[ndarray, "h w 3"]:
    scenes = list(next(iter(rows.values())))
    cell = _SIDE + _GAP
    canvas = Image.new("RGB", (_LABEL + cell * len(scenes), _CAPTION + cell * len(rows)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=12)
    for column, scene in enumerate(scenes):
        draw.text((_LABEL + cell * column + 2, 2), scene.replace("_", " "), fill="black", font=font)
    for line, (arm, row) in enumerate(rows.items()):
        draw.text((4, _CAPTION + cell * line + _SIDE // 2 - 8), arm, fill="black", font=font)
        for column, (video, success) in enumerate(row.values()):
            x, y = _LABEL + cell * column, _CAPTION + cell * line
            if step >= len(video) - 1:
                draw.rectangle((x - 2, y - 2, x + _SIDE + 1, y + _SIDE + 1), fill=_SUCCESS if success else _FAILURE)
            shown = Image.fromarray(video[min(step, len(video) - 1)])
            canvas.paste(shown.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), (x, y))
    return np.asarray(canvas)
