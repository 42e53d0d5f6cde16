"""The few data types and protocols that the parts of cosmos-sim share.

Conventions, everywhere outside a model: frames are ``uint8`` RGB, actions and proprioception ``float32`` in the
dataset's own units, leading axes are batch ``b`` and time ``t``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float32, UInt8
from numpy import ndarray

Frames = Mapping[str, UInt8[ndarray, "*batch h w c"]]
"""Camera name to images: ``h w c``, ``t h w c`` or ``b t h w c``."""

Observation = Mapping[str, Any]
"""``{"pixels": Frames, "agent_pos": Float32[..., n]}``, what the twin and the learned world both return."""


@dataclass(frozen=True)
class Episode:
    """One recorded trajectory of ``t`` steps: what was seen, what was then done, and what came of it.

    Row ``k`` holds the observation *before* action ``k``; ``success[k]`` and ``reward[k]`` are measured *after* it.
    """

    frames: Mapping[str, UInt8[ndarray, "t h w c"]]
    state: Float32[ndarray, "t n"]
    action: Float32[ndarray, "t a"]
    task: str
    success: Bool[ndarray, "t"] | None = None
    reward: Float32[ndarray, "t"] | None = None
    fps: float = 10.0
    info: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.action)


@dataclass(frozen=True)
class Prediction:
    """What a world imagines for a chunk of ``t`` actions, in each of ``b`` worlds."""

    frames: Mapping[str, UInt8[ndarray, "b t h w c"]]
    proprioception: Float32[ndarray, "b t n"]
    success: Float32[ndarray, "b t"] | None
    """Probability that the task is solved at each frame; ``None`` for a world without a success head."""


@dataclass(frozen=True)
class Rollout:
    """One closed-loop episode of a policy in an environment, recorded from its start frame to its end."""

    frames: Mapping[str, UInt8[ndarray, "t1 h w c"]]
    """The ``t + 1`` observations, start frame included."""
    state: Float32[ndarray, "t1 n"]
    action: Float32[ndarray, "t a"]
    success: bool
    seed: int
    success_probability: Float32[ndarray, "t"] | None = None
    """The success head's output after each action; ``None`` in the simulator."""
    trust: Float32[ndarray, "t"] | None = None
    """How far the frames can be believed after each action (not a number before there are enough of them); ``None``
    where nothing judges that."""

    def __len__(self) -> int:
        return len(self.action)


@runtime_checkable
class Policy(Protocol):
    """Anything that acts. One instance drives ``b`` environments at once."""

    def reset(self, seeds: Sequence[int]) -> None:
        """Begin ``len(seeds)`` new episodes; episode ``i`` draws all its randomness from ``seeds[i]``."""

    def act(self, observation: Observation, info: Mapping[str, Any]) -> Float32[ndarray, "b t a"]:
        """Choose the next ``t >= 1`` actions of every environment, which are all executed before the next call.

        ``observation`` holds batched arrays (``pixels[camera]``: ``b h w c``, ``agent_pos``: ``b n``) and ``info``
        the environment's batched info. A policy that needs every observation returns chunks of one action.
        """


@runtime_checkable
class RewardModel(Protocol):
    """Judges imagined frames: the probability that the task is solved at each of them."""

    def __call__(
        self, frames: Frames, proprioception: Float32[ndarray, "b t n"], task: str
    ) -> Float32[ndarray, "b t"]: ...


@runtime_checkable
class WorldModel(Protocol):
    """A learned simulator of ``b`` worlds at once.

    A state is a value: :meth:`step` returns a new one and never changes the one it was given, so keeping it saves,
    passing it again branches, and :meth:`select` picks or repeats worlds.
    """

    @property
    def spec(self) -> "WorldSpec": ...

    def reset(self, frames: Frames, state: Float32[ndarray, "b n"], seeds: Sequence[int]) -> Any:
        """Start from real observations (``frames[camera]``: ``b h w c``); world ``i`` draws noise from ``seeds[i]``."""

    def step(self, state: Any, actions: Float32[ndarray, "b t a"]) -> tuple[Any, Prediction]:
        """Imagine what ``t >= 1`` actions lead to; the same state and actions give the same on the same device.

        A world that takes several at once (``spec.chunk``) holds the last action where its last chunk is not full,
        shows what the given ones led to, and goes on from there.
        """

    def select(self, state: Any, indices: Sequence[int]) -> Any:
        """The state of the worlds ``indices``, in that order, repeats allowed."""


@dataclass(frozen=True)
class WorldSpec:
    """The spaces and constants a world declares in its ``config.json``."""

    task: str
    cameras: Mapping[str, tuple[int, int]]
    """Camera name to ``(height, width)`` in pixels."""
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    state_low: tuple[float, ...]
    state_high: tuple[float, ...]
    fps: float
    horizon: int
    """Actions after which an episode is truncated unless the user says otherwise."""
    chunk: int = 1
    """Actions that the world was trained to take at once: 1 for the shipped ones."""
    has_success: bool = True

    @property
    def action_dim(self) -> int:
        return len(self.action_low)

    @property
    def state_dim(self) -> int:
        return len(self.state_low)
