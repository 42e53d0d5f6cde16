"""Memory of one GPU by part, at each moment of a step that can be the fullest."""

from dataclasses import dataclass
from typing import Literal, get_args

from cosmos_sim.training.layout import ParallelConfig
from cosmos_sim.world_model.plan_activations import (
    final_layer,
    final_layer_gradients,
    gradients_of_activations,
    kept,
    outside,
    remade,
)
from cosmos_sim.world_model.plan_devices import CUDA, FRAGMENTS, NCCL
from cosmos_sim.world_model.plan_workload import Workload, weights

Moment = Literal["forward", "turn", "end", "update"]
"""When the forward pass is over; in the backward pass of the last block and of the first; in the optimiser's step."""

MOMENTS: tuple[Moment, ...] = get_args(Moment)


@dataclass(frozen=True)
class Part:
    """Something that takes memory, in bytes."""

    name: str
    forward: int
    turn: int
    end: int
    update: int

    @classmethod
    def always(cls, name: str, size: int) -> "Part":
        return cls(name, size, size, size, size)


@dataclass(frozen=True)
class Memory:
    """What lies on one GPU."""

    parts: tuple[Part, ...]

    def at(self, moment: Moment) -> int:
        """Bytes in all at that moment."""
        return sum(getattr(part, moment) for part in self.parts)

    @property
    def fullest(self) -> Moment:
        return max(MOMENTS, key=self.at)

    @property
    def tensors(self) -> int:
        """The most that tensors take: what ``torch.cuda.max_memory_allocated`` counts."""
        return max(sum(getattr(part, moment) for part in self.parts if part not in self.reserve) for moment in MOMENTS)

    @property
    def peak(self) -> int:
        """The most of all, with what is no tensor."""
        return self.at(self.fullest)

    @property
    def reserve(self) -> tuple[Part, ...]:
        """The parts that no tensor accounts for."""
        assumed = {CUDA.name, NCCL.name, FRAGMENTS.name}
        return tuple(part for part in self.parts if part.name in assumed)


def memory(workload: Workload, parallel: ParallelConfig, gpus: int) -> Memory:
    """Memory on each of ``gpus``, whose number the degrees multiply to.

    Weights, their average, gradients and AdamW's two moments are fp32, and on several GPUs sharded over
    ``shard * context`` of them. Blocks then compute with gathered weights in bf16, two blocks' at a time; a single GPU
    rounds its own weights for the length of the forward pass, and with checkpointing again for each block.
    """
    load, count, level = workload.load(parallel), weights(workload.network), parallel.checkpointing
    ranks = parallel.shards(gpus) * parallel.context
    own = -(-count.all // ranks)
    block = count.block + count.block_exact
    parts = [
        Part.always("weights, fp32", 4 * own),
        *([Part.always("average of the weights, fp32", 4 * own)] if workload.ema else []),
        Part.always("AdamW's moments, fp32", 8 * own),
    ]
    gradients = 4 * own
    before = gradients if workload.accumulate > 1 else 0
    first = gradients - 4 * block // ranks if workload.accumulate == 1 else gradients
    parts.append(Part("gradients, fp32", before, before, first, gradients))

    rounded = load.itemsize
    if gpus > 1:
        gathered = 2 * (rounded * count.block + 4 * count.block_exact)
        parts.append(Part("weights gathered for two blocks", gathered, gathered, gathered, 0))
        reduced = rounded * count.block + 4 * count.block_exact + 4 * block
        parts.append(Part("gradients of a block, being scattered", 0, reduced, reduced, 0))
    elif workload.bf16:
        copies = 2 * count.rounded
        again = copies if level == "none" else 2 * (count.block + count.ends)
        parts.append(Part("weights rounded to bf16", copies, again, again, 0))

    blocks, own_block = count.blocks * kept(load, level), kept(load, level)
    ends, final = outside(load), final_layer(load)
    parts += [
        Part("activations kept by the blocks", blocks, blocks, own_block, 0),
        Part("activations around the blocks", ends + final, ends, ends, 0),
    ]
    transient = gradients_of_activations(load)
    parts += [
        Part("a block computed again", 0, remade(load, level), remade(load, level), 0),
        Part("gradients of activations", final_layer_gradients(load), transient, transient, 0),
    ]
    tensors = Memory(tuple(part for part in parts if part.forward or part.turn or part.end or part.update))
    reserve = [Part.always(CUDA.name, round(CUDA.value))]
    if gpus > 1:
        reserve.append(Part.always(NCCL.name, round(NCCL.value)))
    reserve.append(Part(FRAGMENTS.name, *(round(FRAGMENTS.value * tensors.at(moment)) for moment in MOMENTS)))
    return Memory((*tensors.parts, *reserve))
