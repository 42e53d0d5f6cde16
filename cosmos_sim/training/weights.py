"""A model's weights as named tensors, on however many processes they lie."""

from collections.abc import Iterator

from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def named_weights(model: nn.Module) -> dict[str, Tensor]:
    """The model's own parameters and persistent buffers by name (no copies); one that has two names is listed once.

    Names are those of the model before anything was wrapped around it; sharded parameters are DTensors.
    """
    named: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in model.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor) and id(value) not in seen:
            seen.add(id(value))
            named[name] = value
    return named


def full_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """:func:`named_weights` one after the other, whole: only one at a time is gathered from where its shards lie.

    All processes have to go through it together, to its end.
    """
    for name, tensor in named_weights(model).items():
        yield name, (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach()


def own_shard(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, sharing its memory: all of one that is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
