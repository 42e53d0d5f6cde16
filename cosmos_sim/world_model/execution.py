"""How a world's step is run: operation by operation, compiled, or as a recorded CUDA graph.

A small world's step is some thousand small operations: on a GPU, telling it what to do takes longer than doing it. A
recorded graph is told once and replayed as a whole; compiling makes one kernel of many small operations.
"""

import importlib.util
import os
import shutil
from collections.abc import Callable

import torch
from torch import Tensor

TensorFunction = Callable[..., tuple[Tensor, ...]]
"""Tensors to tensors, all with the batch as their first axis; what comes out of a row depends on that row alone."""


def run_as(function: TensorFunction, *, device: torch.device, compiled: bool, graphs: bool) -> TensorFunction:
    """``function`` as it is, or run faster, at the price of some time at the first call of each batch size.

    Batch sizes are rounded up to powers of two, so that few of them are ever prepared.

    Args:
        compiled: whether TorchInductor compiles it: less memory traffic.
        graphs: whether it is recorded as CUDA graphs, compiled or not: no launch overhead.

    Raises:
        ValueError: the device or machine cannot do what is asked for.
    """
    if compiled:
        _check_compiler(device)
        function = compile_sizes(function, device)
    if graphs:
        if device.type != "cuda":
            raise ValueError(f"graphs=True needs a CUDA device, not {device}")
        function = CudaGraphs(function)
    return pad_batch(function) if compiled or graphs else function


def pad_batch(function: TensorFunction) -> TensorFunction:
    """``function``, called with batches of 1, 2, 4, 8, ... only: the last row is repeated, the results are cut."""

    def padded(*inputs: Tensor) -> tuple[Tensor, ...]:
        size = len(inputs[0])
        extra = (1 << (size - 1).bit_length()) - size
        if not extra:
            return function(*inputs)
        outputs = function(*(torch.cat([x, x[-1:].expand(extra, *x.shape[1:])]) for x in inputs))
        return tuple(y[:size] for y in outputs)

    return padded


def compile_sizes(function: TensorFunction, device: torch.device) -> TensorFunction:
    """``function`` compiled by TorchInductor, as one graph for each batch size.

    On a CPU the weights it reads become constants of the program, packed as the processor likes them: they must not
    change.
    """
    import torch._dynamo.config as dynamo
    import torch._inductor.config as inductor

    compiled = torch.compile(function, fullgraph=True, dynamic=False)

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        with dynamo.patch(recompile_limit=32), inductor.patch(freezing=device.type == "cpu"):
            return compiled(*(x.contiguous() for x in inputs))

    return run


class CudaGraphs:
    """``function`` recorded once for each shape of its inputs, and replayed.

    A graph works in memory of its own: inputs are copied in, outputs copied out, so that results stay what they are
    when it runs again. What ``function`` reads besides its inputs must stay where it is, such as a model's weights.
    """

    def __init__(self, function: TensorFunction) -> None:
        self.function = function
        self._recorded: dict[tuple[torch.Size, ...], _Recording] = {}

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        shapes = tuple(x.shape for x in inputs)
        if shapes not in self._recorded:
            self._recorded[shapes] = _Recording(self.function, inputs)
        return self._recorded[shapes](*inputs)


class _Recording:
    """One CUDA graph with the tensors that it reads and writes."""

    def __init__(self, function: TensorFunction, inputs: tuple[Tensor, ...]) -> None:
        self.inputs = [x.clone(memory_format=torch.contiguous_format) for x in inputs]
        stream = torch.cuda.Stream(inputs[0].device)
        stream.wait_stream(torch.cuda.current_stream(inputs[0].device))
        with torch.cuda.stream(stream):
            for _ in range(3):  # libraries choose their kernels and take their workspaces before the recording
                function(*self.inputs)
        torch.cuda.current_stream(inputs[0].device).wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.outputs = function(*self.inputs)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        for held, given in zip(self.inputs, inputs, strict=True):
            held.copy_(given)
        self.graph.replay()
        return tuple(y.clone() for y in self.outputs)


def _check_compiler(device: torch.device) -> None:
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise ValueError("compiled=True on a CUDA device needs the package triton")
    elif not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")):
        raise ValueError(f"compiled=True on {device} needs a C++ compiler: g++, clang++ or what CXX names")
