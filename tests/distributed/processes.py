"""Starting several processes as torchrun does, for tests."""

import multiprocessing
import os
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    """Ports that nothing listens on, and that the system gives to nobody who asks for any port."""
    free: list[int] = []
    for port in random.sample(range(15_000, 30_000), 10 * number):
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
        free.append(port)
        if len(free) == number:
            return free
    raise OSError(f"there are no {number} free ports")


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
