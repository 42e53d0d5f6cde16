"""Arithmetic of a step on one GPU, and how long it takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cosmos_sim.training.layout import ParallelConfig
from cosmos_sim.world_model.dit import DiTConfig
from cosmos_sim.world_model.flops import attention_flops, forward_flops
from cosmos_sim.world_model.plan_devices import PRODUCTS, STREAM, Device
from cosmos_sim.world_model.plan_traffic import Traffic
from cosmos_sim.world_model.plan_workload import Workload, weights


@dataclass(frozen=True)
class Cost:
    """Operations of one GPU in one step, a multiplication and an addition each as one."""

    products: float
    """Of the model's matrix products, forward and backward: three times the forward pass."""
    attention: float
    """Of its attention, likewise."""
    again: float
    """Of products in blocks that are computed again, which MFU does not count."""

    @property
    def model(self) -> float:
        """What MFU counts."""
        return self.products + self.attention


def cost(workload: Workload, parallel: ParallelConfig) -> Cost:
    """Operations on each GPU; a context group shares those of its samples."""
    config, text = workload.network, workload.text_tokens
    share = workload.batch * workload.accumulate / workload.context(parallel)
    attention = attention_flops(config, workload.latent, text_tokens=text)
    forward = forward_flops(config, workload.latent, text_tokens=text)
    ends = forward_flops(replace(config, num_blocks=0), workload.latent, text_tokens=text)
    products = forward - attention
    again = products - ends if parallel.checkpointing in ("attention", "full") else 0
    again += attention if parallel.checkpointing == "full" else 0
    return Cost(3 * share * products, 3 * share * attention, share * again)


@dataclass(frozen=True)
class Speed:
    """Seconds of a step, by what takes them."""

    products: float
    attention: float
    elementwise: float
    """Norms, modulations, rotations, activations: as long as their reading and writing takes."""
    exchange: float
    """Communication that nothing hides."""
    waiting: float
    """Communication that is longer than the computation it runs beside."""
    update: float
    """The optimiser and the average of the weights."""

    @property
    def step(self) -> float:
        return self.products + self.attention + self.elementwise + self.exchange + self.waiting + self.update


def speed(workload: Workload, parallel: ParallelConfig, gpus: int, device: Device, sent: Sequence[Traffic]) -> Speed:
    """How long a step takes, from the assumptions of ``plan_devices``.

    Raises:
        ValueError: for fp32, of which they say nothing.
    """
    if not workload.bf16:
        raise ValueError("speeds are assumed for bf16 alone, not for bf16=False")
    operations, load = cost(workload, parallel), workload.load(parallel)
    whole = operations.again if parallel.checkpointing != "full" else operations.again - operations.attention / 3
    products = (operations.products + whole) / (device.peak * PRODUCTS.value)
    # of the model's three parts forward is one; the backward kernel does five products where the model counts four
    forward = operations.attention / 3 * (2 if parallel.checkpointing == "full" else 1)
    attention = forward / (device.peak * device.attention_forward)
    attention += operations.attention / 3 * 2.5 / (device.peak * device.attention_backward)

    runs = 3 if parallel.checkpointing == "none" else 4
    widths = elementwise_widths(workload.network, compiled=parallel.compile, split=load.split)
    moved = widths * load.tokens * load.itemsize
    moved *= workload.network.model_channels * workload.network.num_blocks * workload.accumulate * runs
    elementwise = moved / (device.memory_speed * STREAM.value)

    exchange = sum(kind.seconds for kind in sent if not kind.hidden)
    beside = products + attention + elementwise
    waiting = max(0.0, sum(kind.seconds for kind in sent if kind.hidden) - beside)
    own = weights(workload.network).all / (parallel.shards(gpus) * parallel.context)
    update = own * 4 * (7 + 2 * workload.ema) / (device.memory_speed * STREAM.value)
    return Speed(products, attention, elementwise, exchange, waiting, update)


def elementwise_widths(config: DiTConfig, *, compiled: bool, split: bool) -> float:
    """Token widths that the kernels between products and attention read or write in one block's forward pass.

    Eager: a norm, a product and a sum modulate (6), a product and a sum gate (5), each sublayer; norms of queries and
    keys (2 each); a rotation in fp32 (26 each); the activation. Compiled, each chain of them reads its inputs and
    writes its outputs once. Sharing tokens rearranges queries, keys, values and what was attended, before the exchange
    and after it (2 each). The backward pass moves twice as much.
    """
    sublayers = 2 if config.context_dim is None else 3
    rest = 2 * (sublayers == 3) + 4 + 2 * config.mlp_ratio + 16 * split
    return rest + (5 * sublayers if compiled else 11 * sublayers + 52)
