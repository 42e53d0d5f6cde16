"""Learned video worlds for robot learning: collect, train, evaluate.

The command line is one file a command, imported only when it is run: ``collect.py`` holds the command ``collect`` as a
function of that name, whose signature is its options; a folder (``train/``) is a group of commands. Help lists each by
the first line of its docstring, read from the source, so that asking for help imports nothing heavy.
"""

import os
import select
import sys
from collections.abc import Sequence

from cosmos_sim import __version__
from cosmos_sim.cli._tree import Command, Group, load_tree

PROGRAM = "cosmos-sim"

OPTIONS = """
options, before the command:
  -h, --help  show this help; after a command, the command's own
  --version   show the version
  --debug     on an error show the whole traceback (or set COSMOS_SIM_DEBUG=1)"""


def main(argv: Sequence[str] | None = None, *, tree: Group | None = None) -> None:
    """Run the command line ``argv`` (``sys.argv[1:]`` when ``None``) with the commands of ``tree`` (this package's).

    Raises:
        SystemExit: with code 2 for a mistake of the user (unknown command, bad option, ``ValueError`` or ``OSError``
            from the command, told in one line), 130 when interrupted, 141 when nobody reads what is printed any more
            (``| head``).
    """
    tokens = list(sys.argv[1:] if argv is None else argv)
    debug = os.environ.get("COSMOS_SIM_DEBUG", "") not in ("", "0")
    if tokens[:1] == ["--debug"]:
        debug, tokens = True, tokens[1:]
    if tokens[:1] == ["--version"]:
        print(f"{PROGRAM} {__version__}")
        return
    try:
        command, rest = find(tree or load_tree(), tokens)
        run(command, rest)
    except KeyboardInterrupt:
        print(f"\n{PROGRAM}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except (ValueError, OSError, FloatingPointError) as error:
        if isinstance(error, BrokenPipeError) and nobody_reads():
            raise SystemExit(141) from None
        if debug:
            raise
        print(f"{PROGRAM}: error: {one_line(error)} (traceback: {PROGRAM} --debug ...)", file=sys.stderr)
        raise SystemExit(2) from None


def find(group: Group, tokens: Sequence[str]) -> tuple[Command, list[str]]:
    """Follow ``tokens`` down the tree to a command; return it and the tokens that are left to it.

    Raises:
        SystemExit: code 0 where help of a group is asked for, 2 where a command is missing or unknown.
    """
    node: Group | Command = group
    rest = list(tokens)
    while isinstance(node, Group):
        if not rest:
            print(group_help(node), file=sys.stderr)
            raise SystemExit(2)
        token = rest.pop(0)
        if token in ("-h", "--help"):
            print(group_help(node))
            raise SystemExit(0)
        if token not in node.children:
            print(f"{program(node)}: error: {node.unknown(token)}", file=sys.stderr)
            raise SystemExit(2)
        node = node.children[token]
    return node, rest


def run(command: Command, rest: Sequence[str]) -> None:
    """Import ``command`` and call it with the options ``rest``."""
    function = command.load(rest)
    import tyro

    tyro.cli(function, prog=program(command), args=rest)


def program(node: Group | Command) -> str:
    """The words that reach ``node``: ``cosmos-sim train world``."""
    return " ".join((PROGRAM, *node.path))


def group_help(group: Group) -> str:
    """The usage of ``group``: what it is and its commands, a line each."""
    width = max((len(name) for name in group.children), default=0)
    lines = [f"  {name:<{width}}  {child.summary}" for name, child in group.children.items()]
    text = "\n".join([f"usage: {program(group)} COMMAND ...", "", group.summary, "", "commands:", *lines])
    return text if group.path else f"{text}\n{OPTIONS}"


def nobody_reads() -> bool:
    """Whether the other end of standard output is gone; what is left to print then goes nowhere."""
    output, poll = 1, select.poll()
    poll.register(output, 0)  # an error is told in any case
    gone = bool(poll.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return gone


def one_line(error: Exception) -> str:
    """``error`` as one line that names what is wrong."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename!r}"
    return " ".join(str(error).split()) or type(error).__name__
