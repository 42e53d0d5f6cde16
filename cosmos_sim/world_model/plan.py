"""Plans of a training that no machine at hand could run: does it fit, how fast would it be, what else would fit.

Memory and communication follow from the network's formulas; speed also from a few assumed efficiencies, which a plan
lists with their sources (``plan_devices``) and which nobody fitted to the figures that it is compared with.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import get_args

from cosmos_sim.training.layout import Checkpointing, ParallelConfig
from cosmos_sim.world_model.dit import preset
from cosmos_sim.world_model.flops import utilisation
from cosmos_sim.world_model.plan_devices import DEVICES, Device
from cosmos_sim.world_model.plan_memory import Memory, memory
from cosmos_sim.world_model.plan_speed import Cost, Speed, cost, speed
from cosmos_sim.world_model.plan_traffic import Traffic, traffic
from cosmos_sim.world_model.plan_workload import Workload
from cosmos_sim.world_model.sampler import named

LEVELS: tuple[Checkpointing, ...] = get_args(Checkpointing)


@dataclass(frozen=True)
class Asked:
    """Settings that a plan must have; those that are ``None`` are chosen."""

    replicate: int | None = None
    shard: int | None = None
    context: int | None = None
    checkpointing: Checkpointing | None = None

    def changes(self, parallel: ParallelConfig) -> dict[str, int | str]:
        """The settings in which ``parallel`` is not as asked."""
        given = {name: getattr(parallel, name) for name, value in vars(self).items() if value is not None}
        return {name: value for name, value in given.items() if value != getattr(self, name)}


@dataclass(frozen=True)
class Plan:
    """One way to train: what it takes, from formulas."""

    workload: Workload
    parallel: ParallelConfig
    """With all degrees given."""
    gpus: int
    device: Device

    @cached_property
    def memory(self) -> Memory:
        return memory(self.workload, self.parallel, self.gpus)

    @cached_property
    def cost(self) -> Cost:
        return cost(self.workload, self.parallel)

    @cached_property
    def traffic(self) -> tuple[Traffic, ...]:
        return tuple(traffic(self.workload, self.parallel, self.gpus, self.device))

    @cached_property
    def speed(self) -> Speed:
        return speed(self.workload, self.parallel, self.gpus, self.device, self.traffic)

    @property
    def fits(self) -> bool:
        return self.memory.peak <= self.device.memory

    @property
    def mfu(self) -> float:
        return utilisation(self.cost.model, self.speed.step, self.device.peak)

    @property
    def samples(self) -> int:
        """In one step, over all GPUs."""
        workload = self.workload
        return self.gpus // workload.context(self.parallel) * workload.batch * workload.accumulate

    @property
    def tokens_per_second(self) -> float:
        """Over all GPUs."""
        return self.samples * self.workload.tokens / self.speed.step

    def days(self, tokens: float) -> float:
        """To train on that many tokens.

        Raises:
            ValueError: fewer than one.
        """
        if not tokens >= 1:
            raise ValueError(f"tokens must be at least 1, not {tokens}")
        return tokens / self.tokens_per_second / 86400


def make_plan(workload: Workload, parallel: ParallelConfig, *, gpus: int, device: str) -> Plan:
    """The plan of one layout.

    Raises:
        ValueError: degrees that do not multiply to ``gpus`` or do not divide the heads, an unknown device.
    """
    check(workload, Asked(parallel.replicate, parallel.shard, parallel.context, parallel.checkpointing), gpus)
    shard = parallel.shards(gpus)
    whole = ParallelConfig(parallel.replicate, shard, parallel.context, parallel.checkpointing, parallel.compile)
    return Plan(workload, whole, gpus, named(DEVICES, device, "GPU"))


@dataclass(frozen=True)
class Advice:
    """What was asked for, and what would fit."""

    plan: Plan
    """As asked: the best that fits, or else the one that needs the least memory."""
    instead: Plan | None = None
    """Where that does not fit: the nearest that does, which changes the fewest settings and is the best of those."""
    devices: tuple[str, ...] = ()
    """Where nothing fits: GPUs on which something does."""


def advise(workload: Workload, asked: Asked, *, gpus: int, device: str, compiled: bool) -> Advice:
    """The best plan of those that ``asked`` leaves open, and what to do if none of them fits.

    Raises:
        ValueError: settings that no layout can have, or an unknown device.
    """
    check(workload, asked, gpus)
    every = [
        Plan(workload, parallel, gpus, named(DEVICES, device, "GPU"))
        for parallel in layouts(workload, gpus, compiled=compiled)
    ]
    wanted = [plan for plan in every if not asked.changes(plan.parallel)]
    if any(plan.fits for plan in wanted):
        return Advice(_best([plan for plan in wanted if plan.fits]))
    if not wanted:
        degrees = ", ".join(f"{name}={value}" for name, value in vars(asked).items() if value is not None)
        raise ValueError(f"no layout of {gpus} GPUs has {degrees} and no more shards than blocks")
    smallest = min(wanted, key=lambda plan: plan.memory.peak)
    fitting = [plan for plan in every if plan.fits]
    if fitting:
        fewest = min(len(asked.changes(plan.parallel)) for plan in fitting)
        return Advice(smallest, _best([plan for plan in fitting if len(asked.changes(plan.parallel)) == fewest]))
    least = min(plan.memory.peak for plan in every)
    return Advice(smallest, devices=tuple(name for name, other in DEVICES.items() if least <= other.memory))


def check(workload: Workload, asked: Asked, gpus: int) -> None:
    """Raise a ValueError for settings that no layout of ``gpus`` can have."""
    degrees = {name: getattr(asked, name) for name in ("replicate", "shard", "context")}
    for name, value in {"gpus": gpus, **degrees}.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    heads, context = workload.network.num_heads, asked.context or 1
    if heads % context:
        near = min((n for n in range(1, heads + 1) if heads % n == 0), key=lambda n: abs(n - context))
        raise ValueError(f"context={context} does not divide the {heads} heads; context={near} does")
    if context > 1 and workload.frames == 1:
        raise ValueError(f"context={context} would be ignored: tokens of images are not shared (frames=1)")
    blocks = workload.network.num_blocks
    if asked.shard is not None and asked.shard > blocks:
        raise ValueError(f"shard={asked.shard} is more than the {blocks} blocks; give more to replicate or context")
    given = {name: value for name, value in degrees.items() if value is not None}
    least = 1
    for value in given.values():
        least *= value
    if gpus % least or (len(given) == len(degrees) and gpus != least):
        text = " x ".join(f"{name}={value}" for name, value in given.items())
        kind = "" if len(given) == len(degrees) else "a multiple of "
        raise ValueError(f"{text} need {kind}{least} GPUs, not gpus={gpus}")
    if asked.checkpointing is not None:
        named(dict.fromkeys(LEVELS), asked.checkpointing, "checkpointing")


def layouts(workload: Workload, gpus: int, *, compiled: bool) -> Iterator[ParallelConfig]:
    """Every layout of ``gpus`` (with no more shards than blocks) and every level of checkpointing."""
    heads = workload.network.num_heads if workload.frames > 1 else 1
    groups = [n for n in range(1, min(heads, gpus) + 1) if heads % n == 0 and gpus % n == 0]
    for context, level in product(groups, LEVELS):
        rest = gpus // context
        most = min(rest, workload.network.num_blocks)
        for shard in (n for n in range(1, most + 1) if rest % n == 0):
            yield ParallelConfig(rest // shard, shard, context, level, compiled)


def _best(plans: Sequence[Plan]) -> Plan:
    """Of those within 1% of the fastest, the one that communicates for the shortest time."""
    fastest = max(plan.tokens_per_second for plan in plans)
    near = [plan for plan in plans if plan.tokens_per_second >= 0.99 * fastest]
    return min(near, key=lambda plan: sum(kind.seconds for kind in plan.traffic) / plan.samples)


@dataclass(frozen=True)
class Published:
    """What a training was published to reach."""

    preset: str
    parallel: ParallelConfig
    gpus: int
    device: str
    mfu: float
    source: str

    def plan(self) -> Plan:
        """What this module says of it."""
        return make_plan(Workload(preset(self.preset)), self.parallel, gpus=self.gpus, device=self.device)


PAPER = "Cosmos-Predict2.5, arXiv 2511.00062, table 9"
PUBLISHED = (
    Published("predict2.5-2b", ParallelConfig(512, 4, 2, "selective"), 4096, "h100", 0.3649, PAPER),
    Published("predict2.5-14b", ParallelConfig(128, 4, 8, "selective"), 4096, "h100", 0.3308, PAPER),
)
"""Sharded over 8 and 32 GPUs, as in the released configurations; eager, as nothing is said of compiling."""
