import numpy as np
import pytest

from cosmos_sim.envs.twin.instructions import parse_instruction
from cosmos_sim.envs.twin.tabletop_goals import Situation, goal_of, is_done, rest_height
from cosmos_sim.envs.twin.tabletop_shapes import is_inside, radius

START = np.array([0.02, -0.03, rest_height("cube")])
TARGET = np.array([-0.05, 0.08, rest_height("bowl")])


def moved(place: np.ndarray, *offset: float) -> np.ndarray:
    return place + np.array(offset)


def done(
    text: str, thing: np.ndarray, *, held: bool = False, target: np.ndarray = TARGET, touching: bool = True
) -> bool:
    now = Situation(START, np.asarray(thing), held, target=target, target_rotation=np.eye(3), touching=touching)
    return is_done(parse_instruction(text), now)


@pytest.mark.parametrize(
    "text",
    [
        "push the red cube left",
        "push the red cube right",
        "push the red cube forward",
        "stack the red cube on the blue cube",
        "place the red cube in the white bowl",
        "place the red cube in the white tray",
        "place the red cube left of the blue can",
        "place the red cube right of the white tray",
    ],
)
def test_the_goal_is_where_it_is_done_once_let_go_and_the_start_is_not(text):
    instruction = parse_instruction(text)
    target = TARGET if instruction.target is None else [-0.05, 0.08, rest_height(instruction.target.shape)]
    goal = goal_of(instruction, START, np.asarray(target))
    assert done(text, goal, target=np.asarray(target))
    assert not done(text, goal, target=np.asarray(target), held=True)
    assert not done(text, START, target=np.asarray(target))


def test_lifting_is_being_raised_by_four_centimetres():
    assert not done("lift the red cube", moved(START, 0, 0, 0.039))
    assert done("lift the red cube", moved(START, 0.1, 0, 0.041), held=True)


def test_left_is_where_the_camera_shows_it_and_pushes_must_be_straight():
    assert done("push the red cube left", moved(START, 0.02, -0.08, 0))
    assert not done("push the red cube left", moved(START, 0.02, 0.08, 0))
    assert not done("push the red cube left", moved(START, 0.045, -0.08, 0))  # more than half as far astray
    assert not done("push the red cube left", moved(START, 0, -0.06, 0))
    assert not done("push the red cube left", moved(START, 0, -0.1, 0.03))
    assert done("push the red cube forward", moved(START, 0.1, 0.0, 0))


def test_stacking_needs_touch():
    on_top = [*TARGET[:2], 0.8 + 3 * 0.0225]
    cube = np.array([*TARGET[:2], rest_height("cube")])
    assert done("stack the red cube on the blue cube", on_top, target=cube)
    assert not done("stack the red cube on the blue cube", on_top, target=cube, touching=False)
    assert not done("stack the red cube on the blue cube", moved(cube, 0.03, 0.02, 0.045), target=cube)
    assert not done("stack the red cube on the blue cube", moved(cube, 0.046, 0, 0), target=cube)


def test_a_thing_in_a_container_is_not_beside_it():
    inside = goal_of(parse_instruction("place the red cube in the white bowl"), START, TARGET)
    assert not done("place the red cube left of the white bowl", inside)
    assert not done("place the red cube left of the white bowl", moved(TARGET, 0.0, 0.12, 0))
    assert not done("place the red cube left of the white bowl", [TARGET[0] + 0.06, TARGET[1] - 0.12, START[2]])
    assert done("place the red cube left of the white bowl", [TARGET[0] + 0.04, TARGET[1] - 0.12, START[2]])
    assert done("place the red cube right of the white bowl", [TARGET[0], TARGET[1] + 0.12, START[2]])


def test_a_turned_tray_is_as_wide_as_it_is():
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    instruction = parse_instruction("place the red cube in the white tray")
    beyond = moved(TARGET, 0.0, 0.065, 0.01)  # within the long side, beyond the short one
    assert is_done(instruction, Situation(START, beyond, False, target=TARGET, target_rotation=np.eye(3)))
    assert not is_done(instruction, Situation(START, beyond, False, target=TARGET, target_rotation=turn))
    assert not is_inside("bowl", np.array([0.045, 0.045, 0.0]))
    assert is_inside("tray", np.array([0.045, 0.045, 0.0]))
    assert not is_inside("tray", np.array([0.0, 0.0, 0.04]))


def test_radii_enclose_the_shapes():
    assert radius("can") == 0.023
    assert radius("block") == pytest.approx(np.hypot(0.041, 0.019))
