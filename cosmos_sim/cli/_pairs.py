"""Options that are pairs: ``NAME=VALUE``."""

from pathlib import Path


def pairs(given: tuple[str, ...], option: str) -> dict[str, str]:
    """The pairs by name.

    Raises:
        ValueError: something else, or a name twice.
    """
    found: dict[str, str] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name or not value:
            raise ValueError(f"{option}: {pair!r} is no pair NAME=VALUE")
        if name in found:
            raise ValueError(f"{option} gives {name} twice")
        found[name] = value
    return found


def named_files(given: tuple[str, ...], option: str) -> dict[str, Path]:
    """Files or folders by name, as :func:`pairs`."""
    return {name: Path(value).expanduser() for name, value in pairs(given, option).items()}
