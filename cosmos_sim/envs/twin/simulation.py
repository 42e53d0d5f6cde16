"""robosuite's simulation of one task, made repeatable: a seed or a saved state decides everything that follows."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.utils.seeding import np_random
from jaxtyping import Float, Float32
from numpy import ndarray
from scipy.spatial.transform import Rotation

from cosmos_sim.envs.twin.pose import rotation_vector
from cosmos_sim.envs.twin.tabletop_layout import Layout, draw_layout
from cosmos_sim.envs.twin.tasks import Task, find_split

logging.getLogger("robosuite_logs").addFilter(lambda record: record.levelno >= logging.ERROR)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", SyntaxWarning)
    import mujoco
    import robosuite
    from robosuite.controllers import load_composite_controller_config

    from cosmos_sim.envs.twin.tabletop import Tabletop

FPS = 10
"""Actions a second."""

_MODEL_SEED = 0
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


@dataclass(frozen=True)
class SimulationState:
    """Everything that decides how a simulation goes on."""

    physics: Float[ndarray, "n"]
    """MuJoCo's integration state, the solver's warm start included."""
    gripper: Float[ndarray, "2"]
    """Where the gripper's fingers are being sent: it moves by a fixed amount an action."""
    posture: Float[ndarray, "7"]
    """The joint angles that the controller's null space pulls towards: those that the episode began with."""
    layout: Layout | None = None
    """What the episode began with, in the task that is told what to do."""


def start_of(seed: int) -> int:
    """Which of the simulation's episodes ``CosmosTwin.reset(seed=seed)`` begins."""
    return int(np_random(seed)[0].integers(2**32))


class Simulation:
    """The Panda arm in one task, under robosuite's OSC_POSE controller at 10 Hz.

    Every run of a task has the same model: robosuite draws the cube's size when it builds the model, so the build is
    seeded by a constant. NumPy's global generator, which robosuite draws from, is left as it was found.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        controller = load_composite_controller_config(controller="BASIC", robot="Panda")
        controller["body_parts"] = {"right": controller["body_parts"]["right"]}
        with _seeded(_MODEL_SEED):
            self._env = robosuite.make(
                task.name,
                robots="Panda",
                controller_configs=controller,
                control_freq=FPS,
                has_renderer=False,
                has_offscreen_renderer=False,
                use_camera_obs=False,
                use_object_obs=False,
                ignore_done=True,
                # A hard reset builds a new model, which takes a second and at times yields uninitialised images.
                hard_reset=False,
            )
        for name in list(self._env.observation_names):
            self._env.modify_observable(name, "enabled", False)
        self.model: mujoco.MjModel = self._env.sim.model._model
        self.data: mujoco.MjData = self._env.sim.data._data
        self._substeps = round(1 / (FPS * self.model.opt.timestep))
        self._robot = self._env.robots[0]
        self._site = self._robot.eef_site_id["right"]
        self._fingers = [self.model.joint(name).qposadr[0] for name in self._robot.gripper["right"].joints]
        self._bodies = {name: self.model.body(body).id for name, body in task.objects.items()}

    def reset(self, seed: int, *, instruction: str | None = None, split: str | None = None) -> None:
        """Begin the episode that ``seed`` (0 to 2**32 - 1) stands for, whatever came before.

        ``instruction`` and ``split`` are for the task that is told what to do: see :func:`draw_layout`. ``ValueError``
        for others.
        """
        drawn_from = find_split(self.task, split)
        if isinstance(self._env, Tabletop):
            assert drawn_from is not None
            self._env.layout = draw_layout(seed, instruction=instruction, split=drawn_from)
        elif instruction is not None:
            raise ValueError(f"{self.task.name!r} is always the same task and takes no instruction {instruction!r}")
        with _seeded(seed):
            self._env.reset()
        mujoco.mj_step1(self.model, self.data)

    def step(self, action: Float[ndarray, "7"]) -> None:
        """Carry out one action, in [-1, 1], for 0.1 s."""
        sim = self._env.sim
        for substep in range(self._substeps):
            sim.step1()
            self._env._pre_action(action, substep == 0)
            sim.step2()
        # Positions and contacts now lag the joints by one substep. Recomputing them changes nothing that comes later,
        # and makes what is observed a function of the state alone.
        sim.step1()

    @property
    def xml(self) -> str:
        """The model as MuJoCo's XML, for others to build on."""
        return str(self._env.model.get_xml())

    @property
    def layout(self) -> Layout | None:
        """What the episode began with, in the task that is told what to do."""
        return self._env.layout if isinstance(self._env, Tabletop) else None

    @property
    def success(self) -> bool:
        """Whether the task is solved at this moment, by robosuite's own predicate or :func:`is_done`."""
        return bool(self._env._check_success())

    @property
    def hand(self) -> tuple[Float[ndarray, "3"], Rotation]:
        """Position (metres, world frame) and orientation of the point between the finger tips."""
        rotation = Rotation.from_matrix(self.data.site_xmat[self._site].reshape(3, 3))
        return self.data.site_xpos[self._site].copy(), rotation

    @property
    def opening(self) -> float:
        """Distance between the fingers in metres."""
        return float(abs(self.data.qpos[self._fingers]).sum())

    @property
    def proprioception(self) -> Float32[ndarray, "7"]:
        """Position, rotation vector (see :func:`rotation_vector`) and opening of the hand."""
        position, rotation = self.hand
        return np.concatenate([position, rotation_vector(rotation), [self.opening]]).astype(np.float32)

    def truth(self) -> dict[str, Float[ndarray, "k"]]:
        """The true state by name: positions in metres (world frame), orientations as quaternions x y z w."""
        position, rotation = self.hand
        state = {"eef_pos": position, "eef_quat": rotation.as_quat(), "gripper": np.array([self.opening])}
        for name, body in self._bodies.items():
            state[f"{name}_pos"] = self.data.xpos[body].copy()
            state[f"{name}_quat"] = self.data.xquat[body][[1, 2, 3, 0]]
        state |= {f"{name}_pos": np.array(place) for name, place in self.task.places.items()}
        return state | self._env.truth() if isinstance(self._env, Tabletop) else state

    def save(self) -> SimulationState:
        """A copy of the present state, which any simulation of the same task can go on from."""
        physics = np.empty(mujoco.mj_stateSize(self.model, _STATE))
        mujoco.mj_getState(self.model, self.data, physics, _STATE)
        gripper = np.array(self._robot.gripper["right"].current_action, dtype=float)
        return SimulationState(physics, np.resize(gripper, 2), np.array(self._arm.initial_joint), self.layout)

    def restore(self, state: SimulationState) -> None:
        """Return to ``state``."""
        if isinstance(self._env, Tabletop):
            assert state.layout is not None
            self._env.arrange(state.layout)
        mujoco.mj_setState(self.model, self.data, state.physics, _STATE)
        self._robot.gripper["right"].current_action = state.gripper.copy()
        self._arm.initial_joint = state.posture.copy()
        self._arm.new_update = True
        mujoco.mj_step1(self.model, self.data)

    @property
    def _arm(self) -> Any:
        return self._robot.part_controllers["right"]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """NumPy's global generator seeded by ``seed`` inside, and as it was afterwards."""
    before: Any = np.random.get_state(legacy=False)
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
