"""Whether imagined frames still follow the actions: inverse dynamics read the actions back, to be compared.

A world whose frames have become a dream of their own still looks like a robot at work. What was done is known, and what
the frames show can be read off them: where the two differ by more than the reader's own error, the frames no longer
follow the actions. That is the cycle consistency of the last chunk, and a logistic regression, fitted where the answer
is known (``experiments/trust.py``), makes a probability of it.

A reader reads what it learned to: actions unlike any that it was trained on (a gripper that opens and closes at every
step) are read wrongly off real frames, too, and little trust then says that nothing can be told.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8
from numpy import ndarray

from cosmos_sim.envs.moment import Trail
from cosmos_sim.envs.success import Followed, in_a_row
from cosmos_sim.envs.trust_calibration import TrustCalibration
from cosmos_sim.types import WorldModel, WorldSpec

if TYPE_CHECKING:  # imported late: environments without trust need none of it
    import torch

    from cosmos_sim.world_model.inverse_dynamics import InverseDynamics


@dataclass(frozen=True)
class TrustRule:
    """Trust is lost once it has been below ``minimum`` for ``frames`` consecutive frames."""

    minimum: float = 0.3
    frames: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.minimum < 1:
            raise ValueError(f"min_trust must lie between 0 and 1, got {self.minimum}")
        if self.frames != int(self.frames) or self.frames < 1:
            raise ValueError(f"trust_frames must be a whole number of frames, at least 1, got {self.frames}")

    def follow(
        self, streak: Int64[ndarray, "n"], trust: Float64[ndarray, "n t"], left: Int64[ndarray, "n"]
    ) -> Followed:
        """As :meth:`cosmos_sim.envs.success.SuccessRule.follow`, for frames in a row below the minimum.

        A frame without trust (not a number: too little has been seen to tell) is not below it.
        """
        return in_a_row(streak, trust < self.minimum, left, wanted=self.frames)

    def lost_at(self, trust: Float[ndarray, "t"]) -> int | None:
        """After how many actions of an episode trust was lost, if it was."""
        found = self.follow(np.zeros(1, np.int64), np.asarray(trust, np.float64)[None], np.array([len(trust)]))
        return int(found.executed[0]) if found.met[0] else None


class Trust:
    """Inverse dynamics and their calibration: how far frames can be believed to follow the actions taken."""

    def __init__(self, reader: "InverseDynamics", calibration: TrustCalibration) -> None:
        self.reader = reader
        self.calibration = calibration

    @property
    def chunk(self) -> int:
        """Actions that are judged together."""
        return self.reader.net.config.chunk

    @property
    def cameras(self) -> tuple[str, ...]:
        return self.reader.cameras

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], *, device: "str | torch.device" = "cpu") -> "Trust":
        """From inverse dynamics of either kind that hold ``trust.json``: their folder, shipped name or hub id.

        Raises:
            ValueError: none there, or a damaged or foreign one; the message names the file.
        """
        from cosmos_sim.world_model.latent_actions import find_inverse_dynamics, load_inverse_dynamics

        reader = load_inverse_dynamics(name, device=device)
        return cls(reader, TrustCalibration.load(find_inverse_dynamics(name)))

    def check(self, spec: WorldSpec) -> None:
        """Raises a :class:`ValueError` if a world lacks what the reader needs, or it needs more than frames."""
        if self.reader.net.config.state_dim:
            raise ValueError("trust judges frames by themselves: take a reader that sees no proprioception")
        for camera in self.cameras:
            if camera not in spec.cameras:
                raise ValueError(f"trust reads actions off {camera!r}; the world has {sorted(spec.cameras)}")
        if self.reader.net.config.action_dim != spec.action_dim:
            raise ValueError(
                f"trust reads actions of {self.reader.net.config.action_dim} values; the world takes {spec.action_dim}"
            )

    def see(self, frames: Mapping[str, UInt8[ndarray, "b t1 h w c"]]) -> Float32[ndarray, "b t d"]:
        """What the reader sees in each step of ``b`` videos, to :meth:`read` the actions off."""
        return self.reader.see({camera: frames[camera] for camera in self.cameras})

    def read(self, seen: Float32[ndarray, "b k d"]) -> Float32[ndarray, "b k a"]:
        """The actions of ``b`` chunks of steps that were seen."""
        return self.reader.read_seen(seen, samples=self.calibration.samples).action

    def errors(self, read: Float32[ndarray, "b k a"], taken: Float32[ndarray, "b k a"]) -> Float64[ndarray, "b"]:
        """How far the actions that were read off ``b`` chunks differ from others: see :func:`cycle_error`."""
        net = self.reader.net
        low, high = net.low.cpu().numpy(), net.high.cpu().numpy()
        return cycle_error(read, taken, low=low, high=high, binary=self.reader.binary)

    def begin(self, n: int) -> Trail:
        """Where ``n`` episodes stand before their first action."""
        config = self.reader.net.config
        return Trail(
            seen=np.zeros((n, config.chunk, config.dim), np.float32),
            action=np.zeros((n, config.chunk, config.action_dim), np.float32),
            trust=np.full((n, 1), np.nan),
            streak=np.zeros(n, np.int64),
            lost=np.zeros(n, dtype=bool),
        )

    def follow(
        self,
        trail: Trail,
        frames: Mapping[str, UInt8[ndarray, "n t1 h w c"]],
        actions: Float32[ndarray, "n t a"],
        *,
        taken: Int64[ndarray, "n"],
    ) -> Trail:
        """Where ``n`` episodes stand after ``t`` more ``actions``, which lead from each of their frames to the next.

        Each frame is judged by the chunk that ends with it, so that the number of actions that come at once does not
        matter. ``taken``: actions that were taken before these.
        """
        k, t = self.chunk, actions.shape[1]
        seen = np.concatenate([trail.seen, self.see(frames)], axis=1)
        action = np.concatenate([trail.action, actions], axis=1)
        trust = np.full((len(actions), t), np.nan)
        rows, ends = np.nonzero(taken[:, None] + np.arange(1, t + 1) >= k)
        if len(rows):
            chunks = ends[:, None] + np.arange(1, k + 1)
            trust[rows, ends] = self(seen[rows[:, None], chunks], action[rows[:, None], chunks])
        return replace(trail, seen=seen[:, t:], action=action[:, t:], trust=trust)

    def __call__(self, seen: Float32[ndarray, "b k d"], actions: Float32[ndarray, "b k a"]) -> Float64[ndarray, "b"]:
        """The probability that the frames of each chunk follow its actions."""
        return self.calibration.probability(self.errors(self.read(seen), actions))


def cycle_error(
    read: Float[ndarray, "*b k a"],
    taken: Float[ndarray, "*b k a"],
    *,
    low: Float[ndarray, "a"],
    high: Float[ndarray, "a"],
    binary: Bool[ndarray, "a"],
) -> Float64[ndarray, "*b"]:
    """``sqrt(mean(((read - taken) / (high - low))^2))``: the root mean square over a chunk, 0 to about 1.

    ``low`` and ``high`` are the ends of the data's range, to which the reader, too, is held. Values that only ever took
    two are compared by which of the two they are nearer to, as a gripper's drive is carried out.
    """
    bounded = np.clip(taken, low, high)
    bounded = np.where(binary, np.where(bounded > (low + high) / 2, high, low), bounded)
    share = (np.asarray(read, np.float64) - bounded) / np.maximum(high - low, 1e-6)
    return np.sqrt(np.mean(share**2, axis=(-2, -1)))


@runtime_checkable
class Explained(Protocol):
    """A world model that knows where its inverse dynamics are."""

    @property
    def inverse_dynamics(self) -> Path | None: ...


def find_trust(given: "bool | str | os.PathLike[str] | Trust | None", world: WorldModel) -> Trust | None:
    """The trust that ``given`` names: the world's own (``True``), that of a folder, itself, or none.

    Raises:
        ValueError: there is none, or one for other cameras or actions than the world's.
    """
    if given is None or given is False:
        return None
    if given is True:
        own = world.inverse_dynamics if isinstance(world, Explained) else None
        if own is None:
            raise ValueError("the world has no inverse dynamics in its folder: give trust=FOLDER")
        given = own
    if not isinstance(given, Trust):
        if not isinstance(given, str | os.PathLike):
            raise ValueError(f"trust must be True, a folder or a Trust, got {given!r}")
        given = Trust.from_pretrained(given, device=getattr(world, "device", "cpu"))
    given.check(world.spec)
    return given
