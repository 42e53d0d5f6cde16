"""Variants that are made but not yet a dataset: a folder each, whole or not there."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cosmos_sim.augmentation.plan import AugmentConfig, Job, prompt_json, read_prompt
from cosmos_sim.augmentation.template import Prompt
from cosmos_sim.augmentation.variant import Attempt, Variant, attempt_json, camera_file, read_attempt
from cosmos_sim.data.files import new_file, new_folder
from cosmos_sim.data.work_folder import WorkFolder


@dataclass(frozen=True)
class Staged:
    """A variant that is in the staging folder."""

    episode: int
    variant: int
    prompt: Prompt
    attempts: tuple[Attempt, ...]
    videos: Mapping[str, Path]

    @property
    def accepted(self) -> bool:
        return not self.attempts[-1].faults


class Staging:
    """The folder ``<out>.augmenting`` beside a dataset that is being made."""

    def __init__(self, out: Path) -> None:
        self.work = WorkFolder(out, "augmenting")
        self._prompts, self._variants = self.work.path / "prompts", self.work.path / "variants"

    @contextmanager
    def opened(self, config: AugmentConfig) -> Iterator[None]:
        """Hold the folder for this process alone; see :meth:`WorkFolder.opened`."""
        with self.work.opened(config.as_json()):
            self._variants.mkdir(exist_ok=True)
            yield

    def prompts(self, episode: int) -> list[Prompt] | None:
        """The prompts of an episode's variants, once they are chosen."""
        file = self._prompts / f"{episode:06d}.json"
        return [read_prompt(raw) for raw in json.loads(file.read_text())] if file.is_file() else None

    def save_prompts(self, episode: int, prompts: Sequence[Prompt]) -> None:
        """Keep the prompts, so that a resumed run goes on with the same."""
        with new_file(self._prompts / f"{episode:06d}.json") as partial:
            partial.write_text(json.dumps([prompt_json(prompt) for prompt in prompts]))

    def done(self) -> set[str]:
        """The names of the jobs whose variants are here, accepted or rejected."""
        return {folder.name for folder in self._variants.glob("[0-9]*")}

    def save(self, job: Job, variant: Variant) -> None:
        """Keep a variant: written beside, forced to the disk and renamed."""
        with new_folder(self._variants / job.name) as folder:
            for camera, video in variant.videos.items():
                camera_file(folder, camera).write_bytes(video)
            content = {
                "episode": job.episode,
                "variant": job.variant,
                "prompt": prompt_json(job.prompt),
                "attempts": [attempt_json(attempt) for attempt in variant.attempts],
                "cameras": list(variant.videos),
                "seconds": round(variant.seconds, 3),
            }
            (folder / "variant.json").write_text(json.dumps(content, indent=1))

    def load(self, name: str) -> Staged:
        """The variant of the job ``name``."""
        folder = self._variants / name
        raw = json.loads((folder / "variant.json").read_text())
        return Staged(
            raw["episode"],
            raw["variant"],
            read_prompt(raw["prompt"]),
            tuple(read_attempt(attempt) for attempt in raw["attempts"]),
            {camera: camera_file(folder, camera) for camera in raw["cameras"]},
        )

    def all(self) -> list[Staged]:
        """Every variant that is here, an episode's one after another."""
        return [self.load(name) for name in sorted(self.done())]
