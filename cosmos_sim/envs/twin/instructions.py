"""What the twin's tabletop can be told to do: a small language of verbs, colours and shapes, and what training sees.

The four splits are those of DreamGen Bench (Jang et al., 2025, arXiv:2505.12705): what was seen, and generalisation to
new objects, behaviours and environments, one at a time. Objects are held out as pairs of colour and shape, each of
which is seen in other pairs; behaviours as whole verbs and as a verb used on a shape.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
MOVABLE = ("cube", "can", "block")
"""Shapes that fit between the fingers: a cube, an upright cylinder, and a box twice as long as it is wide."""
CONTAINERS = ("bowl", "tray")
SHAPES = MOVABLE + CONTAINERS
SPLITS = ("seen", "unseen_objects", "unseen_behaviours", "unseen_environments")

VERBS: dict[str, str] = {
    "lift": "lift the {thing}",
    "push left": "push the {thing} left",
    "push right": "push the {thing} right",
    "push forward": "push the {thing} forward",
    "stack": "stack the {thing} on the {target}",
    "place in": "place the {thing} in the {target}",
    "place left of": "place the {thing} left of the {target}",
    "place right of": "place the {thing} right of the {target}",
}
"""Verb to how it is said. Left and right are as ``agentview`` shows them; forward is towards that camera, away from the
arm."""

_TARGETS: dict[str, tuple[str, ...]] = {
    "stack": ("cube", "block"),
    "place in": CONTAINERS,
    "place left of": SHAPES,
    "place right of": SHAPES,
}
_UNSEEN_VERBS = ("push forward", "place right of")
_UNSEEN_USES = (("stack", "can"), ("place in", "block"), ("push left", "cube"))


def _check_known(kind: str, name: str, known: Iterable[str]) -> None:
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(str(name), names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown {kind} {name!r}, choose from {', '.join(names)}.{hint}")


@dataclass(frozen=True)
class Thing:
    """An object by its words: ``str(Thing("red", "cube")) == "red cube"``. ``ValueError`` for an unknown word."""

    colour: str
    shape: str

    def __post_init__(self) -> None:
        _check_known("colour", self.colour, COLOURS)
        _check_known("shape", self.shape, SHAPES)

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"


UNSEEN_THINGS = frozenset(
    Thing(colour, shape)
    for shape, colours in {
        "cube": ("yellow", "purple"),
        "can": ("red", "green"),
        "block": ("blue", "orange"),
        "bowl": ("blue", "black"),
        "tray": ("yellow", "purple"),
    }.items()
    for colour in colours
)
"""Objects that only the split ``unseen_objects`` shows."""


@dataclass(frozen=True)
class Instruction:
    """What is to be done: one of :data:`VERBS` to ``thing``, with ``target`` for the verbs that relate two objects.

    Raises:
        ValueError: for an unknown verb, a target where there should be none or none where there should be one, a shape
            that the verb does not go with, and a thing that is its own target.
    """

    verb: str
    thing: Thing
    target: Thing | None = None

    def __post_init__(self) -> None:
        _check_known("verb", self.verb, VERBS)
        if self.thing.shape not in MOVABLE:
            raise ValueError(f"the {self.thing} cannot be moved, only a {', '.join(MOVABLE)}")
        shapes = _TARGETS.get(self.verb)
        if (shapes is None) != (self.target is None):
            need = "no other object" if shapes is None else f"another object, a {', '.join(shapes)}"
            raise ValueError(f"{self.verb!r} relates the {self.thing} to {need}, got {self.target}")
        if self.target is not None and shapes is not None and self.target.shape not in shapes:
            raise ValueError(f"{self.verb!r} does not go with the {self.target}, only with a {', '.join(shapes)}")
        if self.target == self.thing:
            raise ValueError(f"{self.verb!r} relates two objects, not the {self.thing} to itself")

    @property
    def text(self) -> str:
        """The instruction in words, such as ``"place the blue can in the white bowl"``."""
        return VERBS[self.verb].format(thing=self.thing, target=self.target)

    @property
    def things(self) -> tuple[Thing, ...]:
        """The objects that it names: the thing first."""
        return (self.thing,) if self.target is None else (self.thing, self.target)


def parse_instruction(text: str) -> Instruction:
    """The instruction that ``text`` says; case, spaces and a full stop at the end do not matter.

    Raises:
        ValueError: naming the verb, colour or shape that is unknown, or what stands where something else belongs.
    """
    words = text.lower().strip().rstrip(".").split()
    if not words:
        raise ValueError(f"an instruction reads like {_EXAMPLE!r}, got {text!r}")
    _check_known("verb", words[0], dict.fromkeys(verb.split()[0] for verb in VERBS))
    thing, rest = _thing(words[1:], text)
    relation = rest[: rest.index("the")] if "the" in rest[:-2] else rest
    target, beyond = _thing(rest[len(relation) :], text) if len(relation) < len(rest) else (None, [])
    phrase = " ".join([words[0], "the {thing}", *relation, *(["the {target}"] if target else [])])
    verb = next((verb for verb, said in VERBS.items() if said == phrase), None)
    if verb is None or beyond:
        near = difflib.get_close_matches(phrase, VERBS.values(), n=1, cutoff=0)[0]
        example = near.format(thing=thing, target=target or "white bowl")
        raise ValueError(f"{text!r} is no instruction. Did you mean {example!r}?")
    return Instruction(verb, thing, target)


def draw_instruction(rng: np.random.Generator, split: str, verbs: Sequence[str] = ()) -> Instruction:
    """An instruction of ``split``: first the verb, then what it is done to, each evenly among what the split has.

    Of all its verbs, or of ``verbs``; raises a ``ValueError`` for one that the split does not have.
    """
    check_split(split)
    uses = _uses(split)
    for verb in verbs:
        _check_known(f"verb of {split}", verb, verbs_of(split))
    verb = _choice(rng, list(verbs or verbs_of(split)))
    thing = draw_thing(rng, [shape for used, shape in uses if used == verb], split)
    target = draw_thing(rng, _TARGETS[verb], split, other_than=(thing,)) if verb in _TARGETS else None
    return Instruction(verb, thing, target)


def verbs_of(split: str) -> tuple[str, ...]:
    """The verbs that ``split`` draws from, in alphabetical order."""
    check_split(split)
    return tuple(sorted({verb for verb, _ in _uses(split)}))


def draw_thing(
    rng: np.random.Generator, shapes: Iterable[str], split: str, *, other_than: Iterable[Thing] = ()
) -> Thing:
    """An object of one of ``shapes``, first the shape and then the colour, that is not among ``other_than``."""
    shape = _choice(rng, list(shapes))
    things = [Thing(colour, shape) for colour in COLOURS]
    unseen = split == "unseen_objects"
    return _choice(rng, [thing for thing in things if (thing in UNSEEN_THINGS) == unseen and thing not in other_than])


def split_of(instruction: Instruction) -> str:
    """The first split whose environments are those of training and that may draw ``instruction``.

    An instruction of which part of the objects is unseen counts as one of unseen objects, and one whose behaviour is
    unseen as of unseen behaviours, whatever its objects.
    """
    if not _is_seen(instruction.verb, instruction.thing.shape):
        return "unseen_behaviours"
    return "unseen_objects" if UNSEEN_THINGS.intersection(instruction.things) else "seen"


def check_split(split: str) -> None:
    """Raise :class:`ValueError` unless ``split`` is one of :data:`SPLITS`."""
    _check_known("split", split, SPLITS)


_EXAMPLE = "place the blue can in the white bowl"


def _uses(split: str) -> list[tuple[str, str]]:
    """The verbs of a split with the shapes that they are used on."""
    unseen = split == "unseen_behaviours"
    return [(verb, shape) for verb in VERBS for shape in MOVABLE if _is_seen(verb, shape) != unseen]


def _is_seen(verb: str, shape: str) -> bool:
    return verb not in _UNSEEN_VERBS and (verb, shape) not in _UNSEEN_USES


def _thing(words: list[str], text: str) -> tuple[Thing, list[str]]:
    """The object that ``words`` begin with, as in ``the red cube``, and the words after it."""
    if len(words) < 3 or words[0] != "the":
        found = " ".join(words[:3])
        raise ValueError(f"{text!r} should name an object, as in 'the red cube', where it has {found!r}")
    return Thing(words[1], words[2]), words[3:]


def _choice[T](rng: np.random.Generator, options: list[T]) -> T:
    return options[int(rng.integers(len(options)))]
