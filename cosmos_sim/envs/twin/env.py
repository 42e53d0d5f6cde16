"""``CosmosTwin-v0``: the simulator that the learned worlds learn from and are judged by."""

from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from jaxtyping import Float32, UInt8
from numpy import ndarray

from cosmos_sim.envs.twin.cameras import Cameras, place_camera
from cosmos_sim.envs.twin.meshes import coarsen_meshes
from cosmos_sim.envs.twin.scene import Scene
from cosmos_sim.envs.twin.scenes import find_scene
from cosmos_sim.envs.twin.segments import segment_names, segments_of
from cosmos_sim.envs.twin.simulation import FPS, Simulation, SimulationState
from cosmos_sim.envs.twin.stage import Stage, placed
from cosmos_sim.envs.twin.tabletop_looks import Look, show_look
from cosmos_sim.envs.twin.tasks import find_split, find_task

IMAGE_SIZE = 128
CAMERAS = {"agentview": "agentview", "wrist": "robot0_eye_in_hand"}
"""Our camera names to robosuite's."""
MESH_CELL = 0.004
"""Detail, in metres, that the arm is drawn with: about a pixel. Drawing all of it takes twice as long."""

_STATE_LOW = np.array([-1.8, -1.4, -0.2, 0.0, -2 * np.pi, -2 * np.pi, -0.01], np.float32)
_STATE_HIGH = np.array([0.8, 1.4, 2.5, 2 * np.pi, 2 * np.pi, 2 * np.pi, 0.1], np.float32)


@dataclass(frozen=True)
class TwinState:
    """A moment of an episode, as :meth:`CosmosTwin.save_state` returns it."""

    task: str
    simulation: SimulationState
    elapsed: int
    ended: bool
    scene: Scene | None = None
    """What the episode looks like, in a twin that shows scenes."""


@dataclass(frozen=True, eq=False)
class View:
    """What is known of each pixel of a camera's image: distance along the optical axis in metres, and segment."""

    depth: Float32[ndarray, "h w"]
    segments: UInt8[ndarray, "h w"]


class CosmosTwin(gymnasium.Env[dict[str, Any], ndarray]):
    """A Franka Panda arm at a table, simulated by robosuite 1.5.1 on MuJoCo and seen by two cameras.

    ## Tasks
    | `task` | `task_description` | solved when | default `horizon` |
    |---|---|---|---|
    | `Lift` | lift the cube | the cube's centre is over 4 cm above the table, 2 cm above where it rests | 60 |
    | `Stack` | stack the red cube on the green cube | red rests on green and is not grasped | 100 |
    | `PickPlaceCan` | put the can in the bin | the can is in its bin and the hand over 4 cm away | 150 |
    | `Tabletop` | the episode's own instruction | it is carried out (`tabletop_goals.is_done`) | 100 |

    `Tabletop` is a family of tasks: 2 to 4 objects of 5 shapes and 8 colours, and 8 verbs. An episode's instruction
    (`instructions.parse_instruction` says what is understood) is drawn by the seed from the twin's `split` ("seen",
    "unseen_objects", "unseen_behaviours", "unseen_environments"), or is `reset(options={"instruction": "lift the red
    cube"})`; `task_description` and `info["task"]` are it in words.

    ## Actions
    `Box(-1, 1, (7,), float32)` at 10 Hz, for robosuite's OSC_POSE controller: the change of the hand's position along
    x, y, z (1 asks for 5 cm) and of its orientation about x, y, z (1 asks for 0.5 rad), in the frame of the robot's
    base, whose axes are the world's. The controller is compliant and realises less than half of that in a step. The
    last number drives the gripper by its sign: below 0 opens, above 0 closes (10 steps from end to end), 0 stops it.

    ## Observations
    - `pixels`: `{"agentview": uint8 (128, 128, 3), "wrist": uint8 (128, 128, 3)}`, RGB; `agentview` stands before the
      robot and looks at the hand's working volume, `wrist` sits on the hand.
    - `agent_pos`: float32 (7,). 0-2: the point between the finger tips, metres, world frame (the table top is at
      z = 0.8). 3-5: the hand's orientation as a rotation vector in radians whose x component is not negative, so that
      it is continuous around the hand pointing down. 6: distance between the fingers in metres.

    ## Reward and end
    1 in a step after which the task is solved, otherwise 0. `terminated` when it is solved, unless
    `terminate_on_success=False`: then an episode goes on, `truncated` at the horizon, and the reward tells at each
    step whether the task is solved at that moment.

    ## Info
    `is_success` (bool): whether the task is solved now. `task`: the task in words. `state`: the true state as float64
    arrays: `eef_pos` (3,), `eef_quat` (4,) in order x y z w, `gripper` (1,), for each object `<name>_pos` and
    `<name>_quat` (Lift: `cube`; Stack: `red_cube`, `green_cube`; PickPlaceCan: `can`) and for PickPlaceCan `bin_pos`
    (3,). Tabletop has two bodies of each shape (`cube_a`, `cube_b`, ...), those not in use far away, and besides what
    the instruction means: `thing_pos`, `thing_quat`, `thing_size` (half its extents), `target_pos` (where the thing
    began, for verbs without a target) and `goal_pos`, where the middle of the thing should be.

    ## Starting state and repeatability
    The arm starts near its home pose and the objects at random places. `reset(seed=s)` followed by the same actions
    gives the same observations bit for bit, in any process and whatever was run before, on the same machine and
    OpenGL driver. `save_state()` and `restore_state()` go back to any moment, also in another instance.

    ## Scenes
    A twin made with a `scene` (a `Scene`, or the name of one of `SCENES`; Lift only) looks like it: other colours and
    materials, a dish on the table, another background, other light. Episodes are the same: nothing in a scene moves
    anything. `reset(options={"scene": ...})` shows another one for an episode. `twin.scene` is the present one.

    ## Arguments
    `task`; `horizon` in steps (`None`: the task's own); `render_mode` (`None` or `"rgb_array"`: both cameras side by
    side); `terminate_on_success`; `scene` (`None`: robosuite's own look); `split` (Tabletop only; `None`: "seen").

    ## Version history
    - v0: first version.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["rgb_array"],
        "render_fps": FPS,
    }

    def __init__(
        self,
        task: str = "Lift",
        *,
        horizon: int | None = None,
        render_mode: str | None = None,
        terminate_on_success: bool = True,
        scene: Scene | str | None = None,
        split: str | None = None,
    ) -> None:
        spec = find_task(task)
        if horizon is not None and not (isinstance(horizon, int) and horizon > 0):
            raise ValueError(f"horizon must be a positive number of steps or None, not {horizon!r}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or 'rgb_array', not {render_mode!r}")
        if scene is not None and spec.name != "Lift":
            raise ValueError(f"scenes are of the task Lift, not of {spec.name!r}")
        self.split = find_split(spec, split)
        """Where instructions, objects and looks are drawn from, in the task that is told what to do."""
        self.task = spec.name
        self.task_description = spec.description
        self.render_mode = render_mode
        self.horizon = spec.horizon if horizon is None else horizon
        self.terminate_on_success = terminate_on_success
        image = spaces.Box(0, 255, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        self.observation_space = spaces.Dict(
            {
                "pixels": spaces.Dict(dict.fromkeys(CAMERAS, image)),
                "agent_pos": spaces.Box(_STATE_LOW, _STATE_HIGH, dtype=np.float32),
            }
        )
        self.action_space = spaces.Box(-1.0, 1.0, (7,), np.float32)
        self._simulation = Simulation(spec)
        self._usual_scene = None if scene is None else _scene(scene)
        self._stage = None if scene is None else Stage(self._simulation.xml, spec.agentview)
        model = self._simulation.model if self._stage is None else self._stage.model
        coarsen_meshes(model, cell=MESH_CELL, min_faces=1000)
        place_camera(model, CAMERAS["agentview"], spec.agentview)
        self._cameras = Cameras(model, size=IMAGE_SIZE)
        self._segments = np.append(segments_of(model, spec), np.uint8(0))  # the last for where nothing is seen
        self.segment_names = segment_names(spec)
        """What the numbers in :attr:`View.segments` stand for."""
        self.scene: Scene | None = None
        """What the present episode looks like: its dish has a place. ``None`` in a twin made without a scene."""
        self._look: Look | None = None
        self._elapsed = 0
        self._ended = True
        self._images: dict[str, UInt8[ndarray, "h w 3"]] = {}

    @property
    def _max_episode_steps(self) -> int:
        return self.horizon

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode: the one of ``seed``, or without a seed the next of the generator's sequence.

        ``options={"scene": ...}`` shows another scene (a name or a :class:`Scene`) for this episode, in a twin that was
        made with one; ``options={"instruction": "lift the red cube"}`` is what ``Tabletop`` is told. Raises
        ``ValueError`` for other options, and for an instruction that is none.
        """
        unknown = set(options or {}) - {"scene", "instruction"}
        if unknown:
            raise ValueError(f"options of CosmosTwin.reset are 'scene' and 'instruction', not {sorted(unknown)}")
        chosen = options or {}
        scene = self._usual_scene
        if "scene" in chosen:
            if self._stage is None:
                raise ValueError("this twin shows no scenes: make it with one, as in CosmosTwin(scene='base')")
            scene = _scene(chosen["scene"])
        super().reset(seed=seed)
        start = int(self.np_random.integers(2**32))
        self._simulation.reset(start, instruction=chosen.get("instruction"), split=self.split)
        self._tell()
        self._show(None if scene is None else placed(scene, start))
        self._elapsed = 0
        self._ended = False
        return self._observe(), self._info()

    def step(self, action: Float32[ndarray, "7"]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Act for 0.1 s. ``ValueError`` for an invalid action, ``ResetNeeded`` when the episode has ended."""
        command = self._checked(action)
        if self._ended:
            raise ResetNeeded(f"the episode has ended after {self._elapsed} steps: call reset() before step()")
        self._simulation.step(command.astype(np.float64))
        self._elapsed += 1
        info = self._info()
        terminated = info["is_success"] and self.terminate_on_success
        truncated = not terminated and self._elapsed >= self.horizon
        self._ended = terminated or truncated
        return self._observe(), float(info["is_success"]), terminated, truncated, info

    def save_state(self) -> TwinState:
        """This moment as a value: keep it to come back, or to try several futures from it."""
        return TwinState(self.task, self._simulation.save(), self._elapsed, self._ended, self.scene)

    def restore_state(self, state: TwinState) -> tuple[dict[str, Any], dict[str, Any]]:
        """Go back to ``state``, saved by any twin of the same task; returns its observation and info, as reset does."""
        if state.task != self.task:
            raise ValueError(f"a state of task {state.task!r} cannot be restored in a twin of {self.task!r}")
        if (state.scene is None) != (self._stage is None):
            raise ValueError("a state of a twin with scenes can only be restored in another one with scenes")
        self._simulation.restore(state.simulation)
        self._tell()
        self._show(state.scene)
        self._elapsed = state.elapsed
        self._ended = state.ended
        return self._observe(), self._info()

    def render(self) -> UInt8[ndarray, "h w 3"] | None:
        """Both cameras' present images side by side, or ``None`` without a render mode."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs render_mode='rgb_array'")
            return None
        if not self._images:
            raise ResetNeeded("call reset() before render()")
        return np.concatenate(list(self._images.values()), axis=1)

    def annotate(self) -> dict[str, View]:
        """The true depth and segments of each camera's present image, at its size."""
        if not self._images:
            raise ResetNeeded("call reset() before annotate()")
        data = self._posed()
        seen = {name: self._cameras.geometry(data, camera) for name, camera in CAMERAS.items()}
        return {name: View(geometry.depth, self._segments[geometry.geom]) for name, geometry in seen.items()}

    def close(self) -> None:
        """Free the OpenGL context. The environment cannot be used afterwards."""
        self._cameras.close()

    def _checked(self, action: Any) -> Float32[ndarray, "7"]:
        command = np.asarray(action, dtype=np.float32)
        if command.shape != self.action_space.shape:
            raise ValueError(f"an action has shape {self.action_space.shape}, not {command.shape}")
        if not np.all(np.abs(command) <= 1):  # false for NaN too
            raise ValueError(f"every number of an action lies in [-1, 1], not {command.tolist()}")
        return command

    def _tell(self) -> None:
        """Take over what the simulation is told to do, and how its table looks."""
        layout = self._simulation.layout
        if layout is not None:
            self.task_description = layout.instruction.text
            if layout.look != self._look:
                self._cameras.upload(show_look(self._simulation.model, layout.look))
                self._look = layout.look

    def _show(self, scene: Scene | None) -> None:
        """Look like ``scene``, from the next image on."""
        if self._stage is not None and scene is not None and scene != self.scene:
            self._cameras.upload(self._stage.show(scene))
            self._cameras.hide(self._stage.hidden)
        self.scene = scene

    def _posed(self) -> mujoco.MjData:
        """What the cameras look at, where the simulation has it."""
        data = self._simulation.data
        return data if self._stage is None else self._stage.pose(data)

    def _observe(self) -> dict[str, Any]:
        data = self._posed()
        self._images = {name: self._cameras.render(data, camera) for name, camera in CAMERAS.items()}
        return {"pixels": dict(self._images), "agent_pos": self._simulation.proprioception}

    def _info(self) -> dict[str, Any]:
        return {
            "is_success": self._simulation.success,
            "task": self.task_description,
            "state": self._simulation.truth(),
        }


def _scene(scene: Scene | str) -> Scene:
    return scene if isinstance(scene, Scene) else find_scene(scene)
