"""The shipped Transfer world: that it does what the README says, and that the package stays small."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

import cosmos_sim
from cosmos_sim.augmentation.annotator_open import find_annotator
from cosmos_sim.augmentation.control_spec import parse_controls
from cosmos_sim.augmentation.control_videos import control_videos
from cosmos_sim.augmentation.limits import read_limits
from cosmos_sim.augmentation.template import load_template
from cosmos_sim.envs.twin.env import CosmosTwin
from cosmos_sim.world_model.transfer import Transfer
from cosmos_sim.world_model.views import split_views

FRAMES, SIZE = 5, (128, 256)


@pytest.fixture(scope="module")
def world() -> Transfer:
    return Transfer.from_pretrained(device="cpu")


@pytest.fixture(scope="module")
def source() -> dict[str, ndarray]:
    """Two cameras that see the arm come down towards a red cube on a white table."""
    twin = CosmosTwin(horizon=FRAMES + 1, scene="base")
    observation, _ = twin.reset(seed=3)
    seen: dict[str, list[ndarray]] = {camera: [] for camera in observation["pixels"]}
    for _ in range(FRAMES):
        for camera, image in observation["pixels"].items():
            seen[camera].append(image)
        observation, *_ = twin.step(np.array([0, 0, -0.5, 0, 0, 0, -1], np.float32))
    twin.close()
    return {camera: np.stack(images) for camera, images in seen.items()}


def made(world: Transfer, source: Mapping[str, ndarray], control: str, table: str) -> dict[str, ndarray]:
    assert world.views is not None
    controls = control_videos(source, parse_controls([control]), size=SIZE, views=world.views)
    prompt = f"a robot arm over {table}. on the table rest a blue cube and a yellow dish. the light is bright."
    frames = np.concatenate(list(world.translate(controls, prompt=prompt, seed=1, guidance=3.0)))
    assert frames.shape == (FRAMES, *SIZE, 3)
    return split_views(frames, world.views)


def test_words_say_how_it_looks(world: Transfer, source: dict[str, ndarray]):
    """The table fills most of what the wrist's camera sees."""
    colours = {
        name: made(world, source, "edge:1.0", f"a table with a {name} cloth")["wrist"][:, 20:80].mean((0, 1, 2))
        for name in ("red", "green", "blue")
    }
    for channel, name in enumerate(colours):
        assert colours[name].argmax() == channel, colours


def test_edges_say_where_the_robot_is(world: Transfer, source: dict[str, ndarray]):
    annotator = find_annotator(str(world.annotator))

    def robot(frames: ndarray) -> ndarray:
        return annotator.segments(frames, ("robot",)).mask("robot")

    there = robot(source["agentview"])
    overlap = {}
    for weight in ("1.0", "0.0"):
        found = robot(made(world, source, f"edge:{weight}", "a green table")["agentview"])
        overlap[weight] = (there & found).sum() / (there | found).sum()
    assert overlap["1.0"] > 0.8, overlap
    assert overlap["1.0"] > overlap["0.0"] + 0.1, overlap


def test_it_has_a_branch_for_every_control_and_who_checks_what_it_makes(world: Transfer, source: dict[str, ndarray]):
    assert world.config.kinds == ("edge", "blur", "depth", "seg")
    assert world.annotator is not None
    limits = read_limits(world.annotator / "checks.json")
    assert {name.rpartition(".")[0] for name in limits.worst} == {"agentview", "wrist", ""}
    robot = find_annotator(str(world.annotator)).segments(source["wrist"], ("robot", "cube")).mask("robot")
    assert robot[:, -12:].mean() > 0.5  # the gripper's base is at the lower edge of its own camera
    assert robot[:, :60].mean() < 0.05
    words = world.text.encoder.config.vocabulary  # type: ignore[union-attr]
    phrases = [phrase for phrases in load_template("lift").slots.values() for phrase in phrases]
    assert {word.strip(".,") for phrase in phrases for word in phrase.split()} <= set(words)


def test_all_shipped_weights_together_stay_small():
    folder = Path(cosmos_sim.__file__).parent / "weights"
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) <= 60e6
