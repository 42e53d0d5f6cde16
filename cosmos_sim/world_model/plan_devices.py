"""GPUs that a plan can be made for, and what it assumes of them."""

from dataclasses import dataclass

from cosmos_sim.training.speed import PEAKS

GIB = 2**30


@dataclass(frozen=True)
class Device:
    """One kind of GPU in a server of eight, each with a network adapter of its own."""

    name: str
    peak: float
    """Dense bf16 operations a second, as the maker states them."""
    memory: float
    """Bytes that torch finds on it."""
    memory_speed: float
    """Bytes a second to and from its memory."""
    link: float
    """Bytes a second to the other GPUs of its server, one way (NVLink)."""
    network: float
    """Bytes a second to other servers, one way."""
    attention_forward: float
    """Share of the peak that attention reaches with long sequences and heads of 128."""
    attention_backward: float
    """The same of its backward pass, whose five products count (the model's cost counts four)."""
    attention_source: str


DEVICES = {
    "h100": Device(
        "H100 SXM 80 GB", PEAKS["H100 80GB HBM3"], 79.1 * GIB, 3.35e12, 450e9, 50e9, 0.60, 0.52,
        "cuDNN: 595 and 516 Tflop/s at 16k tokens (Shah et al., FlashAttention-3, arXiv 2407.08608, figures 5 and 6)",
    ),
    "h200": Device(
        "H200 SXM 141 GB", PEAKS["H200"], 139.8 * GIB, 4.8e12, 450e9, 50e9, 0.60, 0.52,
        "cuDNN, as on the H100, whose cores it has (arXiv 2407.08608, figures 5 and 6)",
    ),
    "b200": Device(
        "B200 180 GB", PEAKS["B200"], 178.3 * GIB, 8.0e12, 900e9, 50e9, 0.60, 0.50,
        "assumed: as on the H100",
    ),
    "a100": Device(
        "A100 SXM 80 GB", PEAKS["A100"], 79.1 * GIB, 2.04e12, 300e9, 25e9, 0.72, 0.62,
        "FlashAttention-2: up to 73% and 63% (Dao, arXiv 2307.08691, section 4.1)",
    ),
}  # fmt: skip
"""By the name that a plan is asked for with."""

SERVER = 8
"""GPUs in a server, joined by NVLink."""


@dataclass(frozen=True)
class Assumption:
    """A number that a plan takes from elsewhere."""

    name: str
    value: float
    unit: str
    source: str


PRODUCTS = Assumption(
    "matrix products",
    0.70,
    "of peak",
    "assumed: cuBLAS reaches about 700 Tflop/s on an H100 (benchmarks/train_step.py measures it)",
)
STREAM = Assumption("element-wise kernels", 0.85, "of memory speed", "assumed: what copies of large tensors reach")
LINK = Assumption(
    "collectives in a server", 0.80, "of NVLink", "assumed: about 360 GB/s of NCCL's all-gather on 8 H100"
)
NETWORK = Assumption("collectives between servers", 0.92, "of the network", "46-48 of 50 GB/s (NVIDIA/nccl-tests#290)")
START = Assumption("start of a collective", 8.4e-6, "s", "NCCL's own model (src/graph/tuning.cc)")
HOP = Assumption("each GPU of a ring", 3.4e-6, "s", START.source)
FAR_HOP = Assumption("each server of a ring", 9.6e-6, "s", START.source)
LEVEL = Assumption("each level of a tree of servers", 50e-6, "s", START.source)
CUDA = Assumption("CUDA and its libraries", 1.2 * GIB, "bytes", "assumed: context, cuBLAS's and cuDNN's workspaces")
NCCL = Assumption("NCCL", 1.5 * GIB, "bytes", "assumed: buffers of its channels, for two or three groups of processes")
FRAGMENTS = Assumption("unused in the allocator's blocks", 0.04, "of all", "assumed, with expandable segments")

ASSUMPTIONS = (PRODUCTS, STREAM, LINK, NETWORK, START, HOP, FAR_HOP, LEVEL, CUDA, NCCL, FRAGMENTS)
