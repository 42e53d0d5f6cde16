import numpy as np
import pytest

from cosmos_sim.envs.twin.instructions import (
    COLOURS,
    CONTAINERS,
    MOVABLE,
    SHAPES,
    SPLITS,
    UNSEEN_THINGS,
    VERBS,
    Instruction,
    Thing,
    draw_instruction,
    parse_instruction,
    split_of,
    verbs_of,
)


def drawn(split: str, count: int = 400) -> list[Instruction]:
    rng = np.random.default_rng(3)
    return [draw_instruction(rng, split) for _ in range(count)]


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_said_is_understood(split):
    for instruction in drawn(split, 100):
        assert parse_instruction(instruction.text) == instruction
        assert parse_instruction(f"  {instruction.text.upper()}. ") == instruction


def test_a_text_in_full():
    expected = Instruction("place in", Thing("blue", "can"), Thing("white", "bowl"))
    assert parse_instruction("place the blue can in the white bowl") == expected
    assert expected.text == "place the blue can in the white bowl"
    assert [str(thing) for thing in expected.things] == ["blue can", "white bowl"]


def test_training_never_says_what_is_held_out():
    seen = drawn("seen")
    assert not UNSEEN_THINGS.intersection(thing for instruction in seen for thing in instruction.things)
    uses = {(instruction.verb, instruction.thing.shape) for instruction in seen}
    new_uses = {(instruction.verb, instruction.thing.shape) for instruction in drawn("unseen_behaviours")}
    assert not uses & new_uses
    assert len(uses) + len(new_uses) == len(VERBS) * len(MOVABLE)
    assert {use[0] for use in new_uses} - {use[0] for use in uses} == {"push forward", "place right of"}
    assert all(UNSEEN_THINGS.issuperset(instruction.things) for instruction in drawn("unseen_objects"))
    for split in SPLITS[:3]:
        assert {split_of(instruction) for instruction in drawn(split)} == {split}
    assert {split_of(instruction) for instruction in drawn("unseen_environments")} == {"seen"}


def test_training_says_every_word_and_all_that_is_not_held_out():
    named = {thing for instruction in drawn("seen", 2000) for thing in instruction.things}
    assert named == {Thing(colour, shape) for colour in COLOURS for shape in SHAPES} - UNSEEN_THINGS
    assert {thing.colour for thing in named} == set(COLOURS)


def test_verbs_are_drawn_evenly():
    verbs = [instruction.verb for instruction in drawn("seen", 1200)]
    shares = [verbs.count(verb) / len(verbs) for verb in sorted(set(verbs))]
    assert len(shares) == 6
    assert np.allclose(shares, 1 / 6, atol=0.04)  # three deviations of a binomial


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an instruction reads like"),
        ("lfit the red cube", "unknown verb 'lfit'.*mean 'lift'"),
        ("lift the rde cube", "unknown colour 'rde'.*mean 'red'"),
        ("lift the red cup", "unknown shape 'cup'"),
        ("lift red cube", "'red cube'"),
        ("push the red cube backwards", "mean 'push the red cube forward'"),
        ("push the red cube to the left", "mean 'push the red cube left'"),
        ("place the red cube in", "no instruction"),
        ("lift the red cube now", "mean 'lift the red cube'"),
        ("place the red cube in the white bowl now", "no instruction"),
        ("place the red cube in the white cube", "'place in' does not go with the white cube"),
        ("stack the red cube on the red cube", "to itself"),
        ("lift the white bowl", "cannot be moved"),
        ("举起红色方块", "unknown verb '举起红色方块'"),
    ],
)
def test_what_is_not_understood_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        parse_instruction(text)


def test_what_makes_no_sense_cannot_be_made():
    with pytest.raises(ValueError, match="unknown shape"):
        Thing("red", "ball")
    with pytest.raises(ValueError, match="no other object, got white bowl"):
        Instruction("lift", Thing("red", "cube"), Thing("white", "bowl"))
    with pytest.raises(ValueError, match=f"{', '.join(CONTAINERS)}, got None"):
        Instruction("place in", Thing("red", "cube"))
    with pytest.raises(ValueError, match="mean 'unseen_objects'"):
        draw_instruction(np.random.default_rng(0), "unseen_object")


def test_some_verbs_alone_are_drawn():
    rng = np.random.default_rng(1)
    some = [draw_instruction(rng, "unseen_behaviours", ("push left", "stack")) for _ in range(40)]
    assert {one.verb for one in some} == {"push left", "stack"}
    assert {(one.verb, one.thing.shape) for one in some} == {("push left", "cube"), ("stack", "can")}
    assert set(verbs_of("seen")) == set(VERBS) - {"push forward", "place right of"}
    with pytest.raises(ValueError, match="unknown verb of seen 'push forward'"):
        draw_instruction(rng, "seen", ("lift", "push forward"))
