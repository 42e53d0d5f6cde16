"""Instructions out of a text file: one a line, in any language."""

from collections.abc import Callable
from pathlib import Path


def read_instructions(file: Path, *, check: Callable[[str], object] | None = None) -> tuple[str, ...]:
    """The lines of a UTF-8 file, without the white space around them.

    Args:
        file: with one instruction a line; the last may end without a line break.
        check: raises a :class:`ValueError` for an instruction that means nothing to whoever is to follow it.

    Raises:
        ValueError: naming the line: one that is empty, is there twice, is no text, or that ``check`` does not take; or
            a file that is missing or holds no line.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ValueError(f"{str(file)!r} cannot be read: {error.strerror or error}") from error
    found: dict[str, int] = {}
    for number, line in enumerate(raw.removesuffix(b"\n").split(b"\n"), 1):
        where = f"{str(file)!r}, line {number}"
        try:
            text = line.decode("utf-8").removeprefix("\ufeff").strip()
        except UnicodeDecodeError as error:
            raise ValueError(f"{where} is not UTF-8 text: {error.reason} at byte {error.start + 1}") from error
        if not text:
            raise ValueError(f"{where} is empty: write one instruction a line")
        if not all(sign.isprintable() for sign in text):
            raise ValueError(f"{where} holds a control character: {text!r}")
        if text in found:
            raise ValueError(f"{where} repeats line {found[text]}: {text!r}")
        if check is not None:
            try:
                check(text)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
        found[text] = number
    return tuple(found)
