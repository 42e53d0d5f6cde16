"""Prompts with places that vary: a text with slots, and what may stand in each of them.

The paper's template (section 6.2.2) describes a scene and marks what may change: ``a robot faces [TABLE]. On the table
rest [COLOR_APPLE] apple ...``. What may stand in a slot is a list of texts, which may hold slots in turn: a small
grammar, kept as JSON in ``augmentation/templates`` or anywhere else.
"""

import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from cosmos_sim.data.captions import EpisodeCaption

_SLOT = re.compile(r"\[([A-Z][A-Z0-9_]*)\]")
_FIELDS = ("text", "cameras", "slots", "differ")
_ARTICLES = {"a", "an", "the"}


@dataclass(frozen=True)
class Prompt:
    """A filled template: what is generated, and what stood in which slot."""

    caption: EpisodeCaption
    slots: Mapping[str, str]


@dataclass(frozen=True)
class Template:
    """A scene in words with slots such as ``[TABLE]``, and the texts that may stand in each.

    A slot has one value in a prompt, wherever it stands, so that the cameras' texts tell of one scene. An empty text
    leaves its slot out.

    Raises:
        ValueError: naming a slot that has no texts, is never used, or holds itself.
    """

    name: str
    text: str
    slots: Mapping[str, tuple[str, ...]]
    cameras: Mapping[str, str] = field(default_factory=dict)
    """The texts of cameras whose view :attr:`text` does not describe."""
    differ: tuple[tuple[str, str], ...] = ()
    """Pairs of slots that may share no word, such as a thing's colour and that of what it lies on."""

    def __post_init__(self) -> None:
        reached: set[str] = set()
        for text in (self.text, *self.cameras.values()):
            if not text.strip():
                raise ValueError(f"template {self.name!r}: a text is empty")
            self._walk(text, (), reached)
        for slot in self.slots:
            if slot not in reached:
                raise ValueError(f"template {self.name!r}: slot {slot!r} stands in no text")
        for slot in (slot for pair in self.differ for slot in pair):
            if slot not in self.slots:
                raise ValueError(f"template {self.name!r}: {slot!r}, which is to differ, is no slot")

    def _walk(self, text: str, path: tuple[str, ...], reached: set[str]) -> None:
        for slot in _SLOT.findall(text):
            if slot in path:
                raise ValueError(f"template {self.name!r}: slot {slot!r} holds itself: {' > '.join((*path, slot))}")
            if not self.slots.get(slot):
                near = difflib.get_close_matches(slot, self.slots, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"template {self.name!r}: nothing may stand in slot {slot!r}{hint}")
            if slot not in reached:
                for inner in self.slots[slot]:
                    self._walk(inner, (*path, slot), reached)
            reached.add(slot)

    @property
    def places(self) -> tuple[str, ...]:
        """The slots of the texts themselves, in order, without those within other slots."""
        found = _SLOT.findall(" ".join((self.text, *self.cameras.values())))
        return tuple(dict.fromkeys(found))

    def sample(self, *, seed: int, episode: int, variant: int) -> Prompt:
        """The prompt of one variant of an episode, which depends on these numbers alone.

        The texts of each slot are dealt to an episode's variants in an order drawn for the episode, so that its
        variants differ in every slot until the texts of that slot run out; one that shares a word with a slot from
        which it is to differ gives way to the next.
        """

        def choose(slot: str, texts: tuple[str, ...], chosen: Mapping[str, str]) -> str:
            order = np.random.default_rng([seed, episode, crc32(slot.encode())]).permutation(len(texts))
            dealt = [texts[k] for k in np.roll(order, -(variant % len(texts)))]
            return next((text for text in dealt if not self._clash({**chosen, slot: text})), dealt[0])

        return self._filled(choose)

    def fill(self, values: Mapping[str, str]) -> Prompt:
        """The prompt with ``values`` in the slots :attr:`places`.

        Raises:
            ValueError: naming a slot that is missing, unknown, or whose value is no plain text of one line.
        """
        for slot in values:
            if slot not in self.places:
                raise ValueError(f"template {self.name!r} has the slots {', '.join(self.places)}, not {slot!r}")
        for slot in self.places:
            value = values.get(slot)
            if not isinstance(value, str) or re.search(r"[\[\]\n]", value) or len(value) > 500:
                raise ValueError(f"slot {slot!r} needs a text of one line without brackets, got {value!r}")
        if clash := self._clash(values):
            raise ValueError(f"slots {clash[0]!r} and {clash[1]!r} are to differ, got {values}")
        return self._filled(lambda slot, texts, chosen: values[slot])

    def _clash(self, values: Mapping[str, str]) -> tuple[str, str] | None:
        """Two slots that are to differ and share a word."""
        words = {slot: set(text.lower().split()) - _ARTICLES for slot, text in values.items()}
        return next((pair for pair in self.differ if words.get(pair[0], set()) & words.get(pair[1], set())), None)

    def _filled(self, choose: Callable[[str, tuple[str, ...], Mapping[str, str]], str]) -> Prompt:
        values: dict[str, str] = {}

        def value(match: re.Match[str]) -> str:
            slot = match[1]
            if slot not in values:
                values[slot] = _SLOT.sub(value, choose(slot, self.slots[slot], values))
            return values[slot]

        def whole(text: str) -> str:
            return " ".join(_SLOT.sub(value, text).split())

        caption = EpisodeCaption(whole(self.text), {camera: whole(text) for camera, text in self.cameras.items()})
        return Prompt(caption, dict(values))

    @property
    def label(self) -> str:
        """Its name, and a digest of what it says: ``"lift 1f0c93aa"``."""
        return f"{self.name} {crc32(json.dumps(self.as_json()).encode()):08x}"

    def as_json(self) -> dict[str, Any]:
        """The template as :func:`load_template` reads it."""
        return {
            "text": self.text,
            "cameras": dict(self.cameras),
            "slots": {slot: list(texts) for slot, texts in self.slots.items()},
            "differ": [list(pair) for pair in self.differ],
        }


def load_template(name: str | Path) -> Template:
    """A template of the package by its name (see :func:`template_names`), or a ``.json`` file.

    Raises:
        ValueError: there is none, or it is no template; the message names the file and what is wrong.
    """
    known = template_names()
    path = known[str(name)] if str(name) in known else Path(name)
    if not path.is_file():
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        raise ValueError(f"unknown template {str(name)!r}: no such file, and of the package's {hint}")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is not valid JSON: {error}") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("text"), str):
        raise ValueError(f'{str(path)!r} is no template: it needs {{"text": "... [SLOT] ...", "slots": {{...}}}}')
    for key in raw:
        if key not in _FIELDS:
            near = difflib.get_close_matches(key, _FIELDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"a template has {', '.join(_FIELDS)}"
            raise ValueError(f"{str(path)!r}: unknown field {key!r}; {hint}")
    slots, cameras = raw.get("slots", {}), raw.get("cameras", {})
    if not isinstance(slots, dict) or not all(_texts(texts) for texts in slots.values()):
        raise ValueError(f"{str(path)!r}: slots must map names to lists of texts")
    if not isinstance(cameras, dict) or not all(isinstance(text, str) for text in cameras.values()):
        raise ValueError(f"{str(path)!r}: cameras must map names to texts")
    differ = raw.get("differ", [])
    if not isinstance(differ, list) or not all(_texts(pair) and len(pair) == 2 for pair in differ):
        raise ValueError(f"{str(path)!r}: differ must list pairs of slots")
    return Template(
        path.stem,
        raw["text"],
        {slot: tuple(texts) for slot, texts in slots.items()},
        cameras,
        tuple((first, second) for first, second in differ),
    )


def template_names() -> dict[str, Path]:
    """Name to file of the templates in the package."""
    folder = Path(str(resources.files("cosmos_sim.augmentation"))) / "templates"
    return {file.stem: file for file in sorted(folder.glob("*.json"))}


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
