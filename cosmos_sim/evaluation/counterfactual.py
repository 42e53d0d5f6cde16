"""Does the imagined arm do what it is told? One start, six commanded directions, in the world and in the simulator.

A world that ignores its actions can still look right under recorded ones, since those follow from what is seen. Here
nothing but the command tells the six futures apart. Where the imagined hand is, the world says twice: by the state that
it predicts and by the frames that it shows. A pose reader, which has seen real frames only, reads the second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8
from numpy import ndarray

from cosmos_sim.data.starts import Starts
from cosmos_sim.evaluation.open_loop import ShowableWorld
from cosmos_sim.evaluation.pose_reader import PoseReader
from cosmos_sim.metrics.video import changed

DIRECTIONS: dict[str, tuple[int, int, int]] = {
    "+x": (1, 0, 0),
    "-x": (-1, 0, 0),
    "+y": (0, 1, 0),
    "-y": (0, -1, 0),
    "+z": (0, 0, 1),
    "-z": (0, 0, -1),
}
_OPEN = -1.0


@dataclass(frozen=True)
class DirectionResult:
    """One commanded direction, over all starts. Displacements are metres, means over starts."""

    direction: str
    displacement: tuple[float, float, float]
    """Of the imagined hand: the first three values of the predicted state."""
    twin_displacement: tuple[float, float, float] | None
    obeyed: int
    """Starts from which the imagined hand moved within 45 degrees of the command."""
    twin_obeyed: int | None
    identified: int | None
    """Starts from which the imagined last frame is nearer to the simulator's for this command than for any other."""
    ends: "Ends | None"
    read_displacement: tuple[float, float, float] | None
    """Of the hand as a reader finds it in the imagined last frame, from the start's true position."""


@dataclass(frozen=True)
class Ends:
    """How far from where the simulator's hand ends: medians of distances in metres, ``None`` without a reader."""

    predicted: float
    """The imagined hand, by the predicted state."""
    read: float | None
    """The imagined hand, read off the imagined frame."""
    read_real: float | None
    """The simulator's own hand, read off the simulator's frame: the reader's error."""
    read_ceiling: float | None
    """The same through the world's tokenizer and back."""


@dataclass(frozen=True)
class Counterfactual:
    """What :func:`counterfactual` found."""

    starts: int
    steps: int
    strength: float
    directions: list[DirectionResult]
    obeyed: float
    """Share of commands, over starts and directions, that the imagined hand obeyed."""
    twin_obeyed: float | None
    identified: float | None
    """Share of imagined last frames that show the command; one in six by chance."""
    difference: float
    """Mean absolute difference of the last frames of two commands, in levels of 255, over pairs and starts."""
    smallest_difference: float
    """The same of the two most alike."""
    smallest_changed: float
    """Share of pixels that differ by more than 24 levels between the two most alike."""
    twin_difference: float | None
    ends: Ends | None
    """Over all starts and directions; ``None`` without a simulator."""
    reader: dict[str, float] | None
    """The reader's own error on held-out real frames (:class:`~cosmos_sim.evaluation.pose_reader.PoseReader`)."""


@dataclass(frozen=True)
class _Futures:
    """The last moment of six futures of ``s`` starts."""

    frames: dict[str, UInt8[ndarray, "s 6 h w c"]]
    position: Float[ndarray, "s 6 3"]


def counterfactual(
    world: ShowableWorld,
    starts: Starts,
    *,
    steps: int = 10,
    strength: float = 0.6,
    twin: str | None = None,
    reader: PoseReader | None = None,
) -> Counterfactual:
    """Command the six directions from each of ``starts``, in the world and in the simulator of task ``twin``, if given.

    Takes the first three numbers of an action as a command along x, y and z, the first three of the state as the hand's
    position in metres, and the last number of an action as the gripper, which is held open. ``reader`` finds the hand
    in the last frames, to be compared with where the simulator's hand is.

    Raises:
        ValueError: for a world whose actions or state are too short for that, a command outside its bounds, or a reader
            without a simulator to compare with, or of less than three values.
    """
    spec = world.spec
    if spec.action_dim < 4 or spec.state_dim < 3:
        raise ValueError(f"six directions need 4 action and 3 state values, got {spec.action_dim} and {spec.state_dim}")
    if steps < 1 or not 0 < strength <= min(abs(bound) for bound in (*spec.action_low[:3], *spec.action_high[:3])):
        raise ValueError(f"steps and strength must be positive and within the action space, got {steps}, {strength}")
    if reader is not None and twin is None:
        raise ValueError("a reader would be ignored: without a simulator nothing says where the hand should be")
    if reader is not None and reader.net.config.dim != 3:
        raise ValueError(f"six directions need a reader of 3 values, got {reader.net.config.dim}")
    commands = _commands(steps, strength, spec.action_dim)
    begin = starts.state[:, None, :3].astype(np.float64)
    imagined = _in_world(world, starts, commands)
    true = None if twin is None else _in_twin(twin, starts.seeds.tolist(), commands)
    moved = imagined.position - begin
    truly = None if true is None else true.position - begin
    obeyed = _obeyed(moved)
    twin_obeyed = None if truly is None else _obeyed(truly)
    identified = None if true is None else _identified(imagined.frames, true.frames)
    pairs = _pair_differences(imagined.frames)
    distances = None if true is None else _distances(world, imagined, true, reader)
    read = None if reader is None else _read(reader, imagined.frames) - begin
    return Counterfactual(
        starts=len(starts),
        steps=steps,
        strength=strength,
        directions=[
            DirectionResult(
                direction=name,
                displacement=_mean(moved[:, i]),
                twin_displacement=None if truly is None else _mean(truly[:, i]),
                obeyed=int(obeyed[:, i].sum()),
                twin_obeyed=None if twin_obeyed is None else int(twin_obeyed[:, i].sum()),
                identified=None if identified is None else int(identified[:, i].sum()),
                ends=None if distances is None else _ends({name: d[:, i] for name, d in distances.items()}),
                read_displacement=None if read is None else _mean(read[:, i]),
            )
            for i, name in enumerate(DIRECTIONS)
        ],
        obeyed=float(obeyed.mean()),
        twin_obeyed=None if twin_obeyed is None else float(twin_obeyed.mean()),
        identified=None if identified is None else float(identified.mean()),
        difference=float(np.mean([levels for levels, _ in pairs])),
        smallest_difference=min(pairs)[0],
        smallest_changed=min(pairs)[1],
        twin_difference=None if true is None else float(np.mean([d for d, _ in _pair_differences(true.frames)])),
        ends=None if distances is None else _ends(distances),
        reader=None if reader is None else reader.figures,
    )


def _commands(steps: int, strength: float, width: int) -> Float32[ndarray, "6 t a"]:
    commands = np.zeros((len(DIRECTIONS), steps, width), dtype=np.float32)
    commands[:, :, :3] = strength * np.array(list(DIRECTIONS.values()), dtype=np.float32)[:, None]
    commands[:, :, -1] = _OPEN
    return commands


def _in_world(world: ShowableWorld, starts: Starts, commands: Float32[ndarray, "6 t a"]) -> _Futures:
    frames = {camera: starts.frames[camera] for camera in world.spec.cameras}
    state = world.reset(frames, starts.state, starts.seeds.tolist())
    # Every start six times, with the same noise: only the command differs.
    repeated = world.select(state, np.repeat(np.arange(len(starts)), len(commands)).tolist())
    _, prediction = world.step(repeated, np.tile(commands, (len(starts), 1, 1)))
    shape = (len(starts), len(commands))
    return _Futures(
        frames={camera: video[:, -1].reshape(*shape, *video.shape[2:]) for camera, video in prediction.frames.items()},
        position=prediction.proprioception[:, -1, :3].reshape(*shape, 3).astype(np.float64),
    )


def _in_twin(task: str, seeds: Sequence[int], commands: Float32[ndarray, "6 t a"]) -> _Futures:
    from cosmos_sim.envs.twin.env import CosmosTwin

    twin = CosmosTwin(task, horizon=commands.shape[1] + 1, terminate_on_success=False)
    last = []
    try:
        for seed in seeds:
            twin.reset(seed=int(seed))
            start = twin.save_state()
            for command in commands:
                twin.restore_state(start)
                for action in command:
                    observation = twin.step(action)[0]
                last.append(observation)
    finally:
        twin.close()
    shape = (len(seeds), len(commands))
    images = {camera: np.stack([seen["pixels"][camera] for seen in last]) for camera in last[0]["pixels"]}
    return _Futures(
        frames={camera: stack.reshape(*shape, *stack.shape[1:]) for camera, stack in images.items()},
        position=np.stack([seen["agent_pos"][:3] for seen in last]).reshape(*shape, 3).astype(np.float64),
    )


def _distances(
    world: ShowableWorld, imagined: _Futures, true: _Futures, reader: PoseReader | None
) -> dict[str, Float[ndarray, "s 6"]]:
    """From where the simulator's hand ends, in metres, to each of :class:`Ends`."""
    positions = {"predicted": imagined.position}
    if reader is not None:
        shown = {camera: true.frames[camera] for camera in world.spec.cameras}
        positions["read"] = _read(reader, imagined.frames)
        positions["read_real"] = _read(reader, shown)
        positions["read_ceiling"] = _read(reader, world.reconstruct(shown))
    return {name: np.linalg.norm(position - true.position, axis=-1) for name, position in positions.items()}


def _read(reader: PoseReader, frames: Mapping[str, UInt8[ndarray, "s 6 h w c"]]) -> Float[ndarray, "s 6 3"]:
    s, six = next(iter(frames.values())).shape[:2]
    flat = {camera: images.reshape(s * six, *images.shape[2:]) for camera, images in frames.items()}
    return reader.read(flat).reshape(s, six, 3).astype(np.float64)


def _ends(distances: Mapping[str, ndarray]) -> Ends:
    medians = {name: float(np.median(distance)) for name, distance in distances.items()}
    return Ends(medians["predicted"], *(medians.get(name) for name in ("read", "read_real", "read_ceiling")))


def _obeyed(moved: Float[ndarray, "s 6 3"]) -> ndarray:
    along = np.einsum("sdk,dk->sd", moved, np.array(list(DIRECTIONS.values()), dtype=np.float64))
    return along > np.linalg.norm(moved, axis=-1) / np.sqrt(2)


def _identified(imagined: Mapping[str, ndarray], true: Mapping[str, ndarray]) -> ndarray:
    total = 0
    for camera, frames in imagined.items():
        a, b = frames.astype(np.float32)[:, :, None], true[camera].astype(np.float32)[:, None]
        total = total + np.mean((a - b) ** 2, axis=(-3, -2, -1))
    return np.argmin(total, axis=-1) == np.arange(len(DIRECTIONS))


def _pair_differences(frames: Mapping[str, ndarray]) -> list[tuple[float, float]]:
    """For each pair of commands: mean absolute difference in levels, and share of pixels clearly changed."""
    count = len(DIRECTIONS)
    results = []
    for i in range(count):
        for j in range(i + 1, count):
            levels = [np.abs(v[:, i].astype(np.int16) - v[:, j].astype(np.int16)).mean() for v in frames.values()]
            shares = [changed(v[:, i], v[:, j]).mean() for v in frames.values()]
            results.append((float(np.mean(levels)), float(np.mean(shares))))
    return results


def _mean(moved: Float[ndarray, "s 3"]) -> tuple[float, float, float]:
    x, y, z = moved.mean(axis=0).tolist()
    return x, y, z
