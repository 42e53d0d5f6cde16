"""Which episodes are kept from training."""

from collections.abc import Sequence
from hashlib import blake2b


def held_out(episodes: int, *, fraction: float = 0.1) -> tuple[int, ...]:
    """The episodes out of ``0 .. episodes - 1`` that are held out, in ascending order.

    An episode is held out if the hash of its index, as a number in ``[0, 1)``, is below ``fraction``: the choice never
    changes when episodes are appended. Of two episodes or more at least one is held out and at least one is not.

    Raises:
        ValueError: unless ``episodes >= 1`` and ``0 <= fraction < 1``.
    """
    return held_out_names([str(episode) for episode in range(episodes)], fraction=fraction)


def held_out_names(names: Sequence[str], *, fraction: float = 0.1) -> tuple[int, ...]:
    """The same for things with ``names``, such as files: the indices of those whose name's hash is below ``fraction``.

    Raises:
        ValueError: unless there is a name and ``0 <= fraction < 1``.
    """
    if not names:
        raise ValueError("a split needs at least one episode, got 0")
    if not 0 <= fraction < 1:
        raise ValueError(f"the held-out fraction must be in [0, 1), got {fraction}")
    if fraction == 0 or len(names) == 1:
        return ()
    places = sorted((_place(name), index) for index, name in enumerate(names))
    count = sum(place < fraction for place, _ in places)
    return tuple(sorted(index for _, index in places[: min(max(count, 1), len(names) - 1)]))


def some_of(names: Sequence[str], *, share: float) -> tuple[int, ...]:
    """The indices of that ``share`` of ``names``, in ascending order: those whose hash is lowest, at least one.

    A smaller share is part of a larger one. The hash is another than that of :func:`held_out_names`.

    Raises:
        ValueError: unless there is a name and ``0 < share <= 1``.
    """
    if not names:
        raise ValueError("a share needs at least one episode, got 0")
    if not 0 < share <= 1:
        raise ValueError(f"the share must be in (0, 1], got {share}")
    places = sorted((_place(f"some {name}"), index) for index, name in enumerate(names))
    return tuple(sorted(index for _, index in places[: max(1, round(share * len(names)))]))


def _place(name: str) -> float:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) / 2**64
