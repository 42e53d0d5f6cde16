"""The tree of commands, read from the files of this package without importing them."""

import ast
import difflib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Command:
    """One command: the function named as its file is."""

    path: tuple[str, ...]
    """The words that call it: ``("train", "world")``."""
    module: str
    function: str
    summary: str
    """The first line of the function's docstring."""

    def load(self, tokens: Sequence[str] = ()) -> Callable[..., Any]:
        """Import the command's module and return its function.

        A module with a function ``defaults(tokens)`` sets some arguments by what stands on the command line, such as
        those that belong to a preset; help shows them then.
        """
        module = importlib.import_module(self.module)
        function: Callable[..., Any] = getattr(module, self.function)
        return partial(function, **module.defaults(tokens)) if hasattr(module, "defaults") else function


@dataclass(frozen=True)
class Group:
    """A folder of commands."""

    path: tuple[str, ...]
    summary: str
    """The first line of the folder's docstring."""
    children: dict[str, "Group | Command"] = field(default_factory=dict)

    def unknown(self, name: str) -> str:
        """The message for a ``name`` that is no command of this group."""
        close = difflib.get_close_matches(name, self.children, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(self.children)}"
        return f"unknown command {name!r}; {hint}"


def load_tree(folder: Path | None = None, package: str = "cosmos_sim.cli", path: tuple[str, ...] = ()) -> Group:
    """Read the commands under ``folder`` (of ``package``, reached by the words ``path``), in alphabetical order.

    A file without a function of its own name, and any name that begins with an underscore, is no command.
    """
    folder = folder or Path(__file__).parent
    group = Group(path, _summary(ast.parse((folder / "__init__.py").read_text())))
    for entry in sorted(folder.iterdir()):
        name = entry.stem
        if name.startswith(("_", ".")):
            continue
        words = (*path, name.replace("_", "-"))
        if (entry / "__init__.py").is_file():
            group.children[words[-1]] = load_tree(entry, f"{package}.{name}", words)
        elif entry.suffix == ".py" and (function := _function(entry, name)) is not None:
            group.children[words[-1]] = Command(words, f"{package}.{name}", name, _summary(function))
    return group


def _function(file: Path, name: str) -> ast.FunctionDef | None:
    """The definition of the function ``name`` at the top level of ``file``."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    return None


def _summary(node: ast.Module | ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]
