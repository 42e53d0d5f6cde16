"""Starting several processes as torchrun does, for tests."""

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch.multiprocessing

PRELOADED = [
    "torch._dynamo",
    "torch._inductor.compile_fx",
    "torch.distributed.tensor",
    "torch.utils.tensorboard",
    "cosmos_sim.training.loop",
    "cosmos_sim.world_model.dit",
]
"""Imported once, in the server from which all processes are forked, since importing torch is what takes time."""


def launch(function: Callable[..., None], processes: int, *arguments: Any) -> None:
    """Run ``function(index, *arguments)`` in so many processes; an exception in one ends all and is raised here."""
    multiprocessing.set_forkserver_preload(PRELOADED)
    torch.multiprocessing.start_processes(function, arguments, nprocs=processes, start_method="forkserver")


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def ranked(rank: int, size: int, port: int) -> Iterator[None]:
    """The environment that torchrun gives to process ``rank`` of ``size`` on one node."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), **address}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
