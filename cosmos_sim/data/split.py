"""Which episodes are kept from training."""

from hashlib import blake2b


def held_out(episodes: int, *, fraction: float = 0.1) -> tuple[int, ...]:
    """The episodes out of ``0 .. episodes - 1`` that are held out, in ascending order.

    An episode is held out if the hash of its index, as a number in ``[0, 1)``, is below ``fraction``: the choice never
    changes when episodes are appended. Of two episodes or more at least one is held out and at least one is not.

    Raises:
        ValueError: unless ``episodes >= 1`` and ``0 <= fraction < 1``.
    """
    if episodes < 1:
        raise ValueError(f"a split needs at least one episode, got {episodes}")
    if not 0 <= fraction < 1:
        raise ValueError(f"the held-out fraction must be in [0, 1), got {fraction}")
    if fraction == 0 or episodes == 1:
        return ()
    places = sorted((_place(episode), episode) for episode in range(episodes))
    count = sum(place < fraction for place, _ in places)
    return tuple(sorted(episode for _, episode in places[: min(max(count, 1), episodes - 1)]))


def trained_on(episodes: int, *, fraction: float = 0.1) -> tuple[int, ...]:
    """The episodes that :func:`held_out` does not hold out."""
    kept = set(held_out(episodes, fraction=fraction))
    return tuple(episode for episode in range(episodes) if episode not in kept)


def _place(episode: int) -> float:
    return int.from_bytes(blake2b(str(episode).encode(), digest_size=8).digest()) / 2**64
