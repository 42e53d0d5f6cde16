"""What the scripted experts do: pick, place, the ways in which either goes wrong, and play without a purpose."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cosmos_sim.policies.scripted_motion import CLOSED, OPEN, STILL, Action, Hand, Point, Script, above, go, stay

Blunder = Callable[[Hand, "Errand"], Script]


@dataclass(frozen=True)
class Errand:
    """One task as the scripts see it: names of the true state, heights in metres."""

    thing: str
    place: str | None = None
    """Where the thing belongs; ``None`` if lifting it is all."""
    grasp: float = 0.0
    """Where the thing is held, above its centre."""
    carry: float = 0.12
    """How far the thing is raised before it is carried."""
    release: float = 0.0
    """How high the thing's centre is above the place when it is let go."""
    slack: float = 0.0
    """How far from the place, horizontally, the thing may end for the errand to be done."""
    is_box: bool = True
    """Whether the fingers have to be turned to its faces."""
    is_long: bool = False
    """Whether it is too long to fit between the fingers along its own x axis."""
    elsewhere: tuple[Point, ...] = ()
    """Displacements from the place to other places that are wrong."""


ERRANDS: dict[str, Errand] = {
    "Lift": Errand(thing="cube"),
    "Stack": Errand(thing="red_cube", place="green_cube", carry=0.10, release=0.049, slack=0.03),
    "PickPlaceCan": Errand(
        thing="can",
        place="bin",
        grasp=0.015,
        carry=0.20,
        release=0.13,
        slack=0.1,
        is_box=False,
        elsewhere=(np.array([-0.195, 0.0, 0.0]), np.array([0.0, -0.245, 0.0]), np.array([-0.195, -0.245, 0.0])),
    ),
}


def carry_out(hand: Hand, errand: Errand) -> Script:
    """Do the errand, again if it failed, and go on sensibly when it is done; never ends."""
    yield from stay(hand, grip=STILL, steps=int(hand.generator.integers(0, 3)))
    while True:
        if hand.generator.random() < hand.habits.blunder:
            blunders = _blunders(errand)
            yield from blunders[hand.generator.integers(len(blunders))](hand, errand)
            continue
        yield from pick(hand, errand)
        if not hand.holds(errand.thing):
            yield from retreat(hand)
            continue
        if errand.place is None:
            yield from after_lifting(hand, errand)
        else:
            yield from place(hand, errand, hand[errand.place])
            yield from retreat(hand)
            if np.linalg.norm((hand[errand.thing] - hand[errand.place])[:2]) < errand.slack:
                yield from rest(hand)


def play(hand: Hand, errand: Errand) -> Script:
    """Explore: drift, visit points near the thing and around it, turn, open and close; never ends."""
    generator = hand.generator
    while True:
        grip = generator.choice([OPEN, CLOSED, STILL], p=[0.45, 0.45, 0.1])
        pace = generator.uniform(0.3, 1.0)
        if generator.random() < 0.25:
            drift = generator.uniform(-1, 1, 6) * [pace, pace, pace, 0.25, 0.25, 0.5]
            for _ in range(generator.integers(3, 10)):
                yield _homeward(hand, drift, grip, errand)
            continue
        spin = generator.uniform(-0.4, 0.4)
        spread = (0.04, 0.04, 0.02) if generator.random() < 0.6 else (0.14, 0.16, 0.2)
        point = hand[errand.thing] + generator.uniform(-1, 1, 3) * spread
        point[2] = max(point[2], hand[errand.thing][2])
        point = hand.position + (point - hand.position).clip(-0.3, 0.3)
        yield from go(hand, point, grip=grip, pace=pace, turn=_constant(spin), steps=int(generator.integers(6, 18)))


def pick(
    hand: Hand,
    errand: Errand,
    *,
    offset: Point | None = None,
    height: float = 0.0,
    descend: float = OPEN,
    rise: float | None = None,
) -> Script:
    """Reach over the thing, go down with the gripper at ``descend``, close, and rise by ``rise`` metres.

    ``offset`` displaces the grasp, besides the hand's own inaccuracy, and ``height`` raises it.
    """
    generator = hand.generator
    pace = hand.pace()
    missed = generator.normal(0.0, hand.habits.aim, 3) * [1.0, 1.0, 0.5] + (0.0 if offset is None else offset)
    turn = (lambda: hand.turn_to(errand.thing, is_long=errand.is_long)) if errand.is_box else None
    hover = errand.grasp + generator.uniform(0.06, 0.11)
    yield from go(hand, lambda: above(hand[errand.thing], hover) + missed, grip=descend, pace=pace, turn=turn)
    grasp = above(hand[errand.thing], errand.grasp + height) + missed
    yield from go(hand, grasp, grip=descend, pace=min(pace, 0.8), turn=turn, tolerance=0.008, steps=15)
    yield from stay(hand, grip=CLOSED, steps=int(generator.integers(5, 8)))
    rise = generator.uniform(0.8, 1.4) * errand.carry if rise is None else rise
    yield from go(hand, above(hand.position, rise), grip=CLOSED, pace=pace, steps=15)


def place(hand: Hand, errand: Errand, target: Point) -> Script:
    """Carry the thing over ``target``, lower it and let it go."""
    pace = hand.pace()
    missed = hand.generator.normal(0.0, hand.habits.aim / 2, 3) * [1.0, 1.0, 0.0]
    held = hand[errand.thing] - hand.position
    high = np.array([*target[:2], hand.position[2]]) + missed - held * [1.0, 1.0, 0.0]
    yield from go(hand, high, grip=CLOSED, pace=pace, steps=50)
    if not hand.holds(errand.thing):
        return
    held = hand[errand.thing] - hand.position
    low = above(target, errand.release) + missed - held
    yield from go(hand, low, grip=CLOSED, pace=min(pace, 0.6), tolerance=0.006, steps=20)
    yield from stay(hand, grip=OPEN, steps=4)


def retreat(hand: Hand) -> Script:
    """Open the gripper and rise."""
    rise = hand.generator.uniform(0.06, 0.12)
    yield from go(hand, above(hand.position, rise), grip=OPEN, pace=hand.pace(), steps=10)


def after_lifting(hand: Hand, errand: Errand) -> Script:
    """What comes after a lift: hold, carry about, put down, or drop. Not letting go is the most frequent."""
    generator = hand.generator
    match generator.choice(["hold", "carry", "lower", "drop"], p=[0.35, 0.3, 0.2, 0.15]):
        case "hold":
            yield from stay(hand, grip=CLOSED, steps=40)
        case "carry":
            for _ in range(4):
                point = hand.position + hand.sideways(0.03, 0.12)
                point[2] = hand.position[2] + generator.uniform(-0.04, 0.04)
                yield from go(hand, point, grip=CLOSED, pace=hand.pace(), steps=12)
        case "lower":
            yield from stay(hand, grip=CLOSED, steps=int(generator.integers(2, 8)))
            down = above(hand.position, -errand.carry)
            yield from go(hand, down, grip=CLOSED, pace=0.6, steps=14)
            yield from retreat(hand)
        case "drop":
            yield from stay(hand, grip=CLOSED, steps=int(generator.integers(1, 8)))
            yield from stay(hand, grip=OPEN, steps=8)


def rest(hand: Hand) -> Script:
    """Nothing is left to do: idle, drawing back a little now and then."""
    while True:
        yield from stay(hand, grip=OPEN, steps=int(hand.generator.integers(5, 20)))
        point = hand.position + hand.sideways(0.0, 0.06)
        yield from go(hand, above(point, 0.02), grip=OPEN, pace=0.5, steps=8)


def _beside(hand: Hand, errand: Errand) -> Script:
    """Grasp the air next to the thing."""
    yield from pick(hand, errand, offset=hand.sideways(0.05, 0.09))
    yield from retreat(hand)


def _on_the_edge(hand: Hand, errand: Errand) -> Script:
    """Come down so far off centre that a finger lands on the thing or shoves it."""
    yield from pick(hand, errand, offset=hand.sideways(0.03, 0.045), rise=0.005)
    yield from retreat(hand)


def _too_high(hand: Hand, errand: Errand) -> Script:
    """Close above the thing."""
    yield from pick(hand, errand, height=errand.carry / 3 + hand.generator.uniform(0.005, 0.03))
    yield from retreat(hand)


def _too_early(hand: Hand, errand: Errand) -> Script:
    """Come down with closed fingers."""
    yield from pick(hand, errand, descend=CLOSED, offset=hand.sideways(0.0, 0.02), rise=0.06)
    yield from retreat(hand)


def _push(hand: Hand, errand: Errand) -> Script:
    """Sweep the thing aside with closed fingers."""
    away = hand.sideways(0.06, 0.09)
    thing, pace = hand[errand.thing], hand.pace()
    yield from go(hand, above(thing + away, 0.06), grip=CLOSED, pace=pace)
    yield from go(hand, thing + away, grip=CLOSED, pace=pace, steps=12)
    beyond = thing - away * hand.generator.uniform(0.3, 1.2)
    yield from go(hand, beyond, grip=CLOSED, pace=pace, steps=14)
    yield from retreat(hand)


def _let_go(hand: Hand, errand: Errand) -> Script:
    """Grasp well and lose the thing: hardly off the ground when lifting is all, else on the way."""
    if errand.place is None:
        yield from pick(hand, errand, rise=hand.generator.uniform(0.0, 0.008))
    else:
        yield from pick(hand, errand)
        way = hand[errand.place] - hand.position
        on_the_way = hand.position + hand.generator.uniform(0.1, 0.6) * way * [1.0, 1.0, 0.0]
        yield from go(hand, on_the_way, grip=CLOSED, pace=hand.pace(), steps=40)
    yield from stay(hand, grip=OPEN, steps=7)
    yield from retreat(hand)


def _hesitate(hand: Hand, errand: Errand) -> Script:
    """Come near and wait."""
    point = above(hand[errand.thing], hand.generator.uniform(0.03, 0.15)) + hand.sideways(0.0, 0.08)
    yield from go(hand, point, grip=hand.generator.choice([OPEN, STILL]), pace=hand.pace(), steps=15)
    yield from stay(hand, grip=STILL, steps=int(hand.generator.integers(4, 15)))


def _wrong_thing(hand: Hand, errand: Errand) -> Script:
    """Put the place's cube on the thing: red and green mistaken for each other."""
    assert errand.place is not None
    swapped = Errand(thing=errand.place, place=errand.thing, carry=errand.carry, release=errand.release)
    yield from pick(hand, swapped)
    if hand.holds(swapped.thing):
        yield from place(hand, swapped, hand[errand.thing])
    yield from retreat(hand)


def wrong_place(hand: Hand, errand: Errand) -> Script:
    """Put the thing into another compartment, or next to where it belongs."""
    assert errand.place is not None
    yield from pick(hand, errand)
    if hand.holds(errand.thing):
        displaced = hand.generator.choice(errand.elsewhere) if errand.elsewhere else hand.sideways(0.07, 0.11)
        yield from place(hand, errand, hand[errand.place] + displaced)
    yield from retreat(hand)


MISHAPS: tuple[Blunder, ...] = (_beside, _on_the_edge, _too_high, _too_early, _push, _let_go, _hesitate)
"""The ways in which any errand goes wrong."""


def _blunders(errand: Errand) -> list[Blunder]:
    blunders = [*MISHAPS]
    if errand.place is not None:
        blunders += [wrong_place, wrong_place]
    if errand.place is not None and not errand.elsewhere:
        blunders += [_wrong_thing, _wrong_thing]
    return blunders


def _constant(value: float) -> Callable[[], float]:
    return lambda: value


def _homeward(hand: Hand, drift: np.ndarray, grip: float, errand: Errand) -> Action:
    """``drift``, turned back where it would leave the surroundings of the thing."""
    motion = drift.copy()
    away = hand.position - above(hand[errand.thing], 0.1)
    outside = np.abs(away) > [0.2, 0.2, 0.12]
    motion[:3] = np.where(outside, -np.sign(away) * np.abs(drift[:3]), drift[:3])
    motion[3:] += hand.lean
    return hand.trembling(motion, grip)
