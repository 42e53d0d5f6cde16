"""What a dataset's episodes show, in words: ``meta/captions.jsonl``, one line an episode."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cosmos_sim.data.files import new_file


@dataclass(frozen=True)
class EpisodeCaption:
    """A description of an episode, and other ones for the cameras whose view it does not describe.

    Raises :class:`ValueError` for words that are not text.
    """

    caption: str
    cameras: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for text in (self.caption, *self.cameras.values()):
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"a caption must be a text that is not empty, got {text!r}")

    def of(self, camera: str) -> str:
        """What ``camera`` shows."""
        return self.cameras.get(camera, self.caption)


def read_captions(dataset: Path) -> dict[int, EpisodeCaption]:
    """The captions of the folder ``dataset`` by episode; empty where there are none.

    Raises:
        ValueError: naming the line that is not ``{"episode": 3, "caption": "...", "cameras": {"wrist": "..."}}``
            (``cameras`` may be left out), or an episode that comes twice.
    """
    file = _file(dataset)
    if not file.is_file():
        return {}
    captions: dict[int, EpisodeCaption] = {}
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        try:
            entry = json.loads(line)
            episode, caption = entry["episode"], EpisodeCaption(entry["caption"], dict(entry.get("cameras", {})))
            if not isinstance(episode, int) or episode < 0 or episode in captions:
                raise ValueError(f"episode must be a number from 0 on, each once, got {episode!r}")
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"line {number} of {str(file)!r} is not a caption: {error!r}") from error
        captions[episode] = caption
    return captions


def write_captions(dataset: Path, captions: Mapping[int, EpisodeCaption]) -> None:
    """Make ``captions`` those of the folder ``dataset``, in the order of the episodes."""
    lines = []
    for episode in sorted(captions):
        entry: dict[str, object] = {"episode": int(episode), "caption": captions[episode].caption}
        if captions[episode].cameras:
            entry["cameras"] = dict(captions[episode].cameras)
        lines.append(json.dumps(entry) + "\n")
    with new_file(_file(dataset)) as partial:
        partial.write_text("".join(lines))


def _file(dataset: Path) -> Path:
    return dataset / "meta" / "captions.jsonl"
