"""What one GPU sends in a step, by kind, and how long that takes."""

from dataclasses import dataclass
from math import ceil, log2

from cosmos_sim.training.layout import ParallelConfig
from cosmos_sim.world_model.plan_devices import FAR_HOP, HOP, LEVEL, LINK, NETWORK, SERVER, START, Device
from cosmos_sim.world_model.plan_workload import Workload, weights


@dataclass(frozen=True)
class Traffic:
    """One kind of communication in one step."""

    name: str
    bytes: int
    """Sent by one GPU."""
    seconds: float
    """Alone, without anything beside it."""
    hidden: bool
    """Whether it runs beside the computation, so that only what is longer than that costs time."""


@dataclass(frozen=True)
class Group:
    """GPUs that communicate with each other, and many such groups do so at once."""

    size: int
    apart: int = 1
    """From each rank to the next."""
    adapters: int = SERVER
    """Network adapters of a server that a group can use when its ranks are neighbours: all of them by a ring, one for
    each GPU where every GPU sends to every other."""

    @property
    def servers(self) -> int:
        return ceil(self.size * self.apart / SERVER) if self.apart < SERVER else self.size

    @property
    def latency(self) -> float:
        """Seconds that a collective of almost nothing takes: a ring passes each GPU once."""
        return START.value + (self.servers - 1) * FAR_HOP.value + (self.size - self.servers) * HOP.value

    @property
    def tree_latency(self) -> float:
        """Seconds that a sum of almost nothing takes, up a tree of servers and down again."""
        return START.value + 2 * ((self.size // self.servers - 1) * HOP.value + log2(self.servers) * LEVEL.value)

    def speed(self, device: Device) -> float:
        """Bytes a second that each GPU sends. Groups whose ranks are apart share the adapters of their servers."""
        inside = device.link * LINK.value
        if self.servers == 1:
            return inside
        return min(inside, max(1, self.adapters // self.apart) * device.network * NETWORK.value)


def traffic(workload: Workload, parallel: ParallelConfig, gpus: int, device: Device) -> list[Traffic]:
    """All that is sent in one step.

    FSDP gathers each block's weights before its forward and its backward pass, in bf16, and scatters its gradients in
    fp32; copies of the model then add up their shards. Ulysses exchanges queries, keys, values and what was attended,
    in the forward pass, the backward pass and wherever a block is computed again, and gathers the output. Neighbouring
    ranks form the context groups, and those the shards.
    """
    count, blocks, passes = weights(workload.network), workload.network.num_blocks, workload.accumulate
    ranks, found = parallel.shards(gpus) * parallel.context, []
    units = 2 * blocks + 3  # see dit_units

    def add(
        name: str, sent: float, *, calls: int, group: Group, latency: float | None = None, hidden: bool = True
    ) -> None:
        seconds = sent / group.speed(device) + calls * (group.latency if latency is None else latency)
        found.append(Traffic(name, round(passes * sent), passes * seconds, hidden))

    if ranks > 1:
        shards = Group(ranks)
        size, others = 2 if workload.bf16 else 4, (ranks - 1) / ranks
        gathered = others * (size * count.rounded + 4 * (count.all - count.rounded))
        add("weights gathered, forward", gathered, calls=units, group=shards)
        add("weights gathered, backward", gathered, calls=units, group=shards)
        add("gradients scattered, fp32", others * 4 * count.all, calls=units, group=shards)
    if (copies := parallel.replicate) > 1:
        sent = 2 * 4 * count.all / ranks * (copies - 1) / copies
        group = Group(copies, apart=ranks)
        latency = min(2 * group.latency, group.tree_latency)
        add("gradients added over copies, fp32", sent, calls=units, group=group, latency=latency)
    if (degree := workload.context(parallel)) > 1:
        load, others = workload.load(parallel), (degree - 1) / degree
        runs = 2 if parallel.checkpointing == "none" else 3
        sent = 4 * others * runs * blocks * load.tokens * workload.network.model_channels * load.itemsize
        pairs = Group(degree, adapters=1)
        add("tokens exchanged for heads", sent, calls=2 * runs * blocks, group=pairs, hidden=False)
        sent = 2 * 4 * others * load.places * workload.network.latent_channels
        add("output gathered, fp32", sent, calls=2, group=Group(degree), hidden=False)
    return found
