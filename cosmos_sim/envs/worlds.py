"""Worlds by name: which of the package's kinds a folder holds is said by its ``config.json``."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cosmos_sim.data.pretrained import find_folder, read_config
from cosmos_sim.types import WorldModel, WorldSpec


def load_world(world: str | Path | WorldModel, **loading: Any) -> WorldModel:
    """``world`` itself if it is a world model, else the one of that name, folder or hub id, loaded as ``loading`` says.

    Small worlds and Predict2.5 worlds are told apart by their folders.

    Raises:
        ValueError: there is no such world, or loading arguments (other than ``None``) are given beside one that is
            loaded already.
    """
    given = {name: value for name, value in loading.items() if value is not None}
    if isinstance(world, str | Path):
        folder, config = _read(world)
        load, _ = _kinds()[config["kind"]]
        return load(folder, **given)
    if not isinstance(world, WorldModel):
        raise ValueError(f"world must be a name, a folder, a hub id or a WorldModel, got {world!r}")
    if given:
        listed = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise ValueError(f"{listed} would be ignored: the world given is loaded already")
    return world


def read_spec(world: str | Path) -> WorldSpec:
    """The spec of the world of that name, folder or hub id, without loading it. Raises a ValueError where none is."""
    folder, config = _read(world)
    _, parse = _kinds()[config["kind"]]
    return parse(config, where=str(folder / "config.json")).spec


def find_world(world: str | Path) -> Path:
    """The folder of the world of that name, folder or hub id. Raises a ValueError where none is that takes actions."""
    return _read(world)[0]


def _read(world: str | Path) -> tuple[Path, dict[str, Any]]:
    folder = find_folder(world, "world")
    config = read_config(folder, *_kinds())
    if config.get("words") is not None:
        raise ValueError(f"{str(world)!r} takes instructions, no actions; it is for cosmos-sim dream --model")
    return folder, config


def _kinds() -> Mapping[str, tuple[Callable[..., WorldModel], Callable[..., Any]]]:
    """The kinds of worlds: what loads one, and what parses its config. They are imported late, for they bring torch."""
    from cosmos_sim.world_model import predict_world, world

    return {
        "world": (world.World.from_pretrained, world.config_from_json),
        predict_world.KIND: (predict_world.PredictWorld.from_pretrained, predict_world.config_from_json),
    }
