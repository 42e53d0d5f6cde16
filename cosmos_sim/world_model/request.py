"""What a user asks to be generated, one by one or from NVIDIA's request files.

The fields and their meaning are those of Cosmos-Predict2.5's inference, so that a file made for it works here:
``.json`` with one request, or several under ``samples`` (its first form), and ``.jsonl`` with one request a line. A
list of requests in ``.json`` is read, too. Paths in a file are relative to it.
"""

import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

NEGATIVE_PROMPT = (
    "The video captures a series of frames showing ugly scenes, static with no motion, motion blur, over-saturation, "
    "shaky footage, low resolution, grainy texture, pixelated images, poorly lit areas, underexposed and overexposed "
    "scenes, poor color balance, washed out colors, choppy sequences, jerky movements, low frame rate, artifacting, "
    "color banding, unnatural transitions, outdated special effects, fake elements, unconvincing visuals, poorly "
    "edited content, jump cuts, visual noise, and flickering. Overall, the video is of poor quality."
)
"""What Cosmos-Predict2.5 guides away from unless told otherwise."""

GIVEN = {"text2world": 0, "image2world": 1, "video2world": 5}
"""Kind of request to the frames it begins from: for a video its last five, two latents."""

SIZES = {
    "720": (704, 1280),
    "720p": (720, 1280),
    "480": (432, 768),
    "480p": (480, 832),
    "256": (192, 320),
}
"""Names of the sizes (height, width) that Cosmos-Predict2.5 was trained at, in 16:9."""


@dataclass(frozen=True)
class Request:
    """One video to generate. What is ``None`` is as the model was released."""

    name: str
    """Of the files to write, without a folder."""
    inference_type: str
    """``text2world``, ``image2world`` (from an image, or a video's last frame) or ``video2world`` (its last five)."""
    prompt: str
    input_path: Path | None = None
    """The image or video to begin from."""
    negative_prompt: str | None = None
    """What to guide away from: the model's own when ``None`` (:data:`NEGATIVE_PROMPT` as released), nothing in
    particular when empty."""
    seed: int = 0
    guidance: float | None = None
    """Strength of guidance by the prompt: 0 is none."""
    resolution: tuple[int, int] | None = None
    """Height and width in pixels."""
    num_output_frames: int | None = None
    """Frames in all, with those it begins from."""
    num_steps: int | None = None
    enable_autoregressive: bool | None = None
    """Whether a video longer than a chunk may be made chunk after chunk; ``None`` does so where one is needed."""
    chunk_size: int | None = None
    """Frames made at once."""
    chunk_overlap: int = 1
    """Last frames of a chunk that the next begins from: 1, or 5 for smoother motion."""
    fps: float = 16.0
    """Of the file; the model knows no frame rate."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[^/\\\0]+", self.name) or self.name.startswith("."):
            raise ValueError(f"name must be a file's name without a folder, not {self.name!r}")
        if self.inference_type not in GIVEN:
            near = difflib.get_close_matches(str(self.inference_type), GIVEN, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(GIVEN)}"
            raise self.error(f"unknown inference_type {self.inference_type!r}: {hint}")
        if (self.input_path is None) != (self.given == 0):
            raise self.error(f"input_path={self.input_path} does not go with {self.inference_type}")
        _text(self.prompt, self.error, "prompt")
        if self.negative_prompt is not None and self.guidance == 0:
            raise self.error("negative_prompt would be ignored with guidance=0")
        if not 0 <= self.seed < 2**32:
            raise self.error(f"seed must lie in 0 .. 2^32 - 1, not {self.seed}")
        if self.guidance is not None and not (math.isfinite(self.guidance) and self.guidance >= 0):
            raise self.error(f"guidance must be finite and not negative, not {self.guidance}")
        if self.resolution is not None and min(self.resolution) < 1:
            raise self.error(f"resolution must be positive, not {self.resolution[0]}x{self.resolution[1]}")
        for name in ("num_output_frames", "num_steps", "chunk_size", "chunk_overlap"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise self.error(f"{name} must be at least 1, not {value}")
        if not 0.01 <= self.fps <= 1000:
            raise self.error(f"fps must lie in 0.01 .. 1000, not {self.fps}")

    @property
    def given(self) -> int:
        """Frames that the video begins from."""
        return GIVEN[self.inference_type]

    def error(self, message: str) -> ValueError:
        """An error that names the request."""
        return ValueError(f"request {self.name!r}: {message}")

    def as_json(self) -> str:
        """The request as :func:`read_requests` reads it, of what is set."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        if self.resolution is not None:
            plain["resolution"] = f"{self.resolution[0]},{self.resolution[1]}"
        if self.input_path is not None:
            plain["input_path"] = str(self.input_path.resolve())
        return json.dumps(plain, indent=2) + "\n"


def read_requests(path: Path) -> list[Request]:
    """The requests in a ``.json`` or ``.jsonl`` file.

    Raises:
        ValueError: naming the file, the request and the field: not JSON, unknown or ill-typed fields, a prompt file
            that is missing or no text, names that repeat.
    """
    if path.suffix not in (".json", ".jsonl"):
        raise ValueError(f"{path}: requests come as .json or .jsonl, not {path.suffix or 'without a suffix'}")
    text = _read_text(path)
    if path.suffix == ".jsonl":
        lines = [(f"{path}, line {i}", line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
        found = [(where, _parse(line, where)) for where, line in lines]
    else:
        found = [(str(path), value) for value in _several(_parse(text, str(path)), str(path))]
    if not found:
        raise ValueError(f"{path} holds no request")
    requests = [_request(value, path.parent, where) for where, value in found]
    check_names(requests)
    return requests


def check_names(requests: Sequence[Request]) -> None:
    """Raises a ValueError when two requests would write the same files."""
    names = [request.name for request in requests]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{names.count(name)} requests have the name {name!r}, and would overwrite each other")


def read_prompt(path: Path) -> str:
    """The text in a prompt file, without the space around it.

    Raises:
        ValueError: it is missing, empty, or no text.
    """
    text = _read_text(path).strip()
    _text(text, lambda message: ValueError(f"{path}: {message}"), "prompt")
    return text


def parse_resolution(value: Any) -> tuple[int, int] | None:
    """``"none"``, a name of :data:`SIZES`, ``"H,W"``, or two numbers.

    Raises:
        ValueError: anything else.
    """
    if value is None or value == "none":
        return None
    if isinstance(value, str) and value in SIZES:
        return SIZES[value]
    sides = value.split(",") if isinstance(value, str) else value
    if isinstance(sides, Sequence) and len(sides) == 2:
        try:
            height, width = (int(v) for v in sides)
        except (TypeError, ValueError):
            pass
        else:
            return height, width
    raise ValueError(f"resolution must be 'H,W', 'none' or one of {', '.join(SIZES)}; not {value!r}")


def _several(value: Any, where: str) -> list[Any]:
    """The requests of a JSON file: itself, its elements, or its ``samples``, which share the other fields."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and "samples" in value:
        shared = {name: v for name, v in value.items() if name != "samples"}
        samples = value["samples"]
        if not isinstance(samples, dict) or not all(isinstance(v, dict) for v in samples.values()):
            raise ValueError(f"{where}: samples must map names to requests")
        return [{**shared, "name": name, **sample} for name, sample in samples.items()]
    return [value]


def _request(value: Any, folder: Path, where: str) -> Request:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: a request is an object, not {json.dumps(value)[:60]}")
    where = f"{where}, request {value.get('name')!r}"
    known = {f.name for f in fields(Request)} | {"prompt_path"}
    for name in value:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ValueError(f"{where}: unknown field {name!r}" + (f": did you mean {near[0]!r}?" if near else ""))
    for name in ("name", "inference_type"):
        if not isinstance(value.get(name), str):
            raise ValueError(f"{where}: {name} must be given, as text")
    chosen = {name: v for name, v in value.items() if v is not None and name != "prompt_path"}
    for name, v in chosen.items():
        _check_type(name, v, where)
    if "prompt" not in chosen:
        if value.get("prompt_path") is None:
            raise ValueError(f"{where}: give prompt or prompt_path")
        chosen["prompt"] = read_prompt(folder / Path(str(value["prompt_path"])).expanduser())
    elif value.get("prompt_path") is not None:
        raise ValueError(f"{where}: give prompt or prompt_path, not both")
    if chosen["inference_type"] == "text2world":  # the original lets these two stand in its files, unused
        chosen.pop("input_path", None)
    if chosen.get("guidance") == 0:
        chosen.pop("negative_prompt", None)
    if "input_path" in chosen:
        chosen["input_path"] = folder / Path(chosen["input_path"]).expanduser()
    try:
        if "resolution" in chosen:
            chosen["resolution"] = parse_resolution(chosen["resolution"])
        return Request(**chosen)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _check_type(name: str, value: Any, where: str) -> None:
    kinds: dict[str, tuple[type, ...]] = {
        "seed": (int,),
        "guidance": (int, float),
        "num_output_frames": (int,),
        "num_steps": (int,),
        "enable_autoregressive": (bool,),
        "chunk_size": (int,),
        "chunk_overlap": (int,),
        "fps": (int, float),
        "resolution": (str, list),
    }
    kind = kinds.get(name, (str,))
    if not isinstance(value, kind) or (isinstance(value, bool) and bool not in kind):
        wanted = " or ".join(k.__name__ for k in kind)
        raise ValueError(f"{where}: {name} must be {wanted}, not {json.dumps(value)[:60]}")


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not valid JSON: {error}") from error


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text: byte {error.start} is not UTF-8") from error


def _text(text: str, error: Any, what: str) -> None:
    """Raises unless ``text`` is something to read."""
    odd = next((c for c in text if ord(c) < 32 and c not in "\t\n\r"), None)
    if odd is not None:
        raise error(f"the {what} holds the control character {odd!r}: it is no text")
    if not text.strip():
        raise error(f"the {what} is empty")
