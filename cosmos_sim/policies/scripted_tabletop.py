"""What the scripted experts do on the tabletop: what the instruction says, or something else by mistake."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.spatial.transform import Rotation

from cosmos_sim.policies.scripted_motion import CLOSED, OPEN, STILL, Hand, Point, Script, above, go, stay
from cosmos_sim.policies.scripted_tasks import (
    MISHAPS,
    Errand,
    after_lifting,
    pick,
    place,
    play,
    rest,
    retreat,
    wrong_place,
)

_MOVABLE = ("cube", "can", "block")
_LOW = 0.027
"""How near the table, in metres, the finger tips go: lower, the palm would touch tall things around."""
_PUSHER = 0.035
"""From the middle of closed fingers to what they are just not touching."""


def follow(hand: Hand, instruction: str) -> Script:
    """Do what ``instruction`` says, again if it failed, and go on sensibly when it is done; never ends."""
    errand = _errand(hand, instruction)
    yield from stay(hand, grip=STILL, steps=int(hand.generator.integers(0, 3)))
    while True:
        if hand.generator.random() < hand.habits.blunder:
            blunders = _blunders(hand, instruction, errand)
            yield from blunders[hand.generator.integers(len(blunders))]()
        elif instruction.startswith("push"):
            yield from _push(hand, errand.thing)
            if (hand["goal"] - hand[errand.thing]) @ _way(hand) < errand.slack:
                yield from rest(hand)
        else:
            yield from _carry(hand, errand)


def play_about(hand: Hand, instruction: str) -> Script:
    """Explore near the thing that ``instruction`` names, without a purpose; never ends."""
    yield from play(hand, _errand(hand, instruction))


def _errand(hand: Hand, instruction: str) -> Errand:
    x, y, z = hand.state["thing_size"]
    thing = Errand(thing="thing", grasp=max(0.0, _LOW - z), is_long=bool(x > 1.3 * y))
    if instruction.startswith("lift"):
        return thing
    beside = (2 * (hand["target"] - hand["goal"]) * [1.0, 1.0, 0.0],) if " of the " in instruction else ()
    clearance = 0.02 if " in the " in instruction else 0.005
    return replace(thing, place="goal", carry=0.13, release=clearance, slack=0.03, elsewhere=beside)


def _carry(hand: Hand, errand: Errand) -> Script:
    """Pick the thing up, and put it where it belongs if it belongs anywhere."""
    yield from pick(hand, errand)
    if not hand.holds(errand.thing):
        yield from retreat(hand)
    elif errand.place is None:
        yield from after_lifting(hand, errand)
    else:
        yield from place(hand, errand, hand[errand.place])
        yield from retreat(hand)
        if np.linalg.norm(hand[errand.thing] - hand[errand.place]) < errand.slack:
            yield from rest(hand)


def _push(hand: Hand, name: str) -> Script:
    """Come down behind ``name`` and push it by the distance that the thing has to go, correcting on the way."""
    way, pace = _way(hand), hand.pace()
    goal = hand[name] + max(0.0, (hand["goal"] - hand["thing"]) @ way) * way
    missed = hand.generator.normal(0.0, hand.habits.aim) * np.cross(way, [0.0, 0.0, 1.0])
    low = hand[name] - (_extent(hand, name, way) + _PUSHER) * way + missed
    low[2] = hand["target"][2] - hand.state["thing_size"][2] + _LOW
    yield from go(hand, above(low, 0.09), grip=CLOSED, pace=pace, tolerance=0.02)
    yield from go(hand, low, grip=CLOSED, pace=pace, steps=12)
    for _ in range(25):
        left = (goal - hand[name]) @ way
        if left < 0.01:
            break
        astray = hand[name] + missed - hand.position
        astray -= (astray @ way) * way
        astray[2] = low[2] - hand.position[2]
        yield hand.toward(hand.position + min(0.04, left + 0.02) * way + astray, grip=CLOSED, pace=0.8 * pace)
    yield from go(hand, above(hand.position - 0.02 * way, 0.08), grip=CLOSED, pace=pace, steps=8)


def _way(hand: Hand) -> Point:
    """Where to push, as a unit vector: without another object the target is where the thing began."""
    way = (hand["goal"] - hand["target"]) * [1.0, 1.0, 0.0]
    return np.asarray(way / max(np.linalg.norm(way), 1e-9))


def _extent(hand: Hand, name: str, way: Point) -> float:
    """How far the thing reaches along ``way`` from its middle; of other things it is a guess."""
    if name != "thing":
        return 0.035
    axes = Rotation.from_quat(hand.state["thing_quat"]).as_matrix()
    return float(np.abs(way @ axes) @ hand.state["thing_size"])


def _others(hand: Hand) -> list[str]:
    """Bodies within reach that could be moved but are not meant."""
    names = [name.removesuffix("_pos") for name in hand.state if name.startswith(_MOVABLE) and name.endswith("_pos")]
    meant = (hand["thing"], hand["target"])
    return [
        name
        for name in names
        if np.linalg.norm(hand[name] - hand.position) < 1.0
        and min(np.linalg.norm(hand[name] - place) for place in meant) > 0.005
    ]


def _blunders(hand: Hand, instruction: str, errand: Errand) -> list[Callable[[], Script]]:
    """Ways to fail at what ``instruction`` says."""
    ways: list[Callable[[], Script]] = [partial(mishap, hand, errand) for mishap in MISHAPS]
    pushes = instruction.startswith("push")
    for name in _others(hand)[:2]:
        other = replace(errand, thing=name, grasp=0.005, is_long=name.startswith("block"))
        ways += [partial(_push, hand, other.thing) if pushes else partial(_mistake, hand, other)] * 2
    if errand.place is not None and not pushes:
        ways += [partial(wrong_place, hand, errand)] * 2
    return ways


def _mistake(hand: Hand, other: Errand) -> Script:
    """Do to another thing what should be done to the one that is meant."""
    yield from pick(hand, other)
    if hand.holds(other.thing):
        if other.place is None:
            yield from stay(hand, grip=CLOSED, steps=int(hand.generator.integers(2, 8)))
        else:
            yield from place(hand, other, hand[other.place])
    yield from stay(hand, grip=OPEN, steps=4)
    yield from retreat(hand)
