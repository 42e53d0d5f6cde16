"""A trained model as a :class:`~cosmos_sim.types.Policy`, and its folder on disk."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray
from safetensors.torch import save_file
from torch import Tensor

from cosmos_sim.data.files import new_folder
from cosmos_sim.data.pretrained import find_folder, from_dict, half_weights, load_weights, read_config, to_json
from cosmos_sim.policies.diffusion import DiffusionConfig, DiffusionModel
from cosmos_sim.policies.encoder import EncoderConfig, centre_crop, resize
from cosmos_sim.policies.language import embed, instructions
from cosmos_sim.policies.regression import RegressionConfig, RegressionModel
from cosmos_sim.types import Observation

KIND = "policy"
FORMAT = 1
WEIGHTS = "model.safetensors"

type ModelConfig = DiffusionConfig | RegressionConfig
type ChunkModel = DiffusionModel | RegressionModel

FAMILIES: dict[str, type[DiffusionConfig] | type[RegressionConfig]] = {
    "diffusion": DiffusionConfig,
    "regression": RegressionConfig,
}


def family_of(config: ModelConfig) -> str:
    """The name in :data:`FAMILIES` of the model that ``config`` describes."""
    return next(family for family, configs in FAMILIES.items() if isinstance(config, configs))


def build(config: ModelConfig) -> ChunkModel:
    """The untrained model of ``config``, its weights drawn by torch's global generator."""
    return DiffusionModel(config) if isinstance(config, DiffusionConfig) else RegressionModel(config)


def episode_generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator an episode, that shares no stream with a world seeded by the same number.

    Raises :class:`ValueError` for a negative seed.
    """
    for seed in seeds:
        if seed < 0:
            raise ValueError(f"seeds must not be negative, got {seed}")
    label = int.from_bytes(b"policy")
    states = [int(np.random.SeedSequence([int(seed), label]).generate_state(1, np.uint64)[0]) for seed in seeds]
    return [torch.Generator().manual_seed(state) for state in states]


class LearnedPolicy:
    """Acts with a trained diffusion or regression model, ``config.execute`` actions at a time.

    The actions of an episode depend on its own observations and seed only, never on the others in the batch.
    """

    def __init__(
        self, model: ChunkModel, *, metadata: Mapping[str, Any] | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.model = model
        self.config = model.config
        self.metadata = dict(metadata or {})
        """What is known of the policy's making (data, seed, command, metrics), as stored in config.json."""
        self.device = torch.device(device)
        self._generators: list[torch.Generator] = []
        model.to(self.device).eval()

    def reset(self, seeds: Sequence[int]) -> None:
        """Begin ``len(seeds)`` episodes. Raises :class:`ValueError` for a negative seed."""
        self._generators = episode_generators(seeds)

    def act(self, observation: Observation, info: Mapping[str, Any]) -> Float32[ndarray, "b t a"]:
        """The next ``config.execute`` actions of every environment, in the units of the training data.

        A policy trained with language does what ``info["task"]`` says: one text, or one for each environment.

        Raises :class:`ValueError` if a camera is missing, a shape is wrong, the state is not finite, the number of
        environments is not the one that :meth:`reset` was told, or there is no instruction where one is needed.
        """
        frames, state = self._observe(observation)
        words, text = self.config.encoder.language, None
        if words is not None:
            text = embed(instructions(info, len(state)), words).to(self.device)
        with torch.inference_mode():
            actions = self.model.predict(frames, state, self._generators, text)
        return actions[:, : self.config.execute].float().cpu().numpy()

    def _observe(self, observation: Observation) -> tuple[dict[str, Tensor], Tensor]:
        encoder: EncoderConfig = self.config.encoder
        state = np.asarray(observation["agent_pos"], dtype=np.float32)
        if state.ndim != 2 or state.shape[1] != encoder.state_dim:
            raise ValueError(f"agent_pos must have shape (b, {encoder.state_dim}), got {state.shape}")
        if not np.isfinite(state).all():
            raise ValueError(f"agent_pos must be finite, got {state[~np.isfinite(state).all(axis=1)][0]}")
        if len(state) != len(self._generators):
            raise ValueError(f"act() got {len(state)} environments, but reset() began {len(self._generators)} episodes")
        frames = {}
        for camera in encoder.cameras:
            if camera not in observation["pixels"]:
                raise ValueError(
                    f"the policy needs camera {camera!r}; the environment has {sorted(observation['pixels'])}"
                )
            images = np.asarray(observation["pixels"][camera])
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or len(images) != len(state):
                raise ValueError(
                    f"camera {camera!r} must be uint8 ({len(state)}, h, w, 3), got {images.dtype} {images.shape}"
                )
            resized = resize(torch.from_numpy(np.ascontiguousarray(images)), encoder.resolution)
            frames[camera] = centre_crop(resized, encoder.crop).to(self.device)
        return frames, torch.from_numpy(state).to(self.device)

    def save_pretrained(self, folder: Path | str, *, card: str) -> None:
        """Make ``folder`` hold config.json, model.safetensors (half-precision parameters) and README.md (``card``)."""
        with new_folder(Path(folder)) as beside:
            self.write(beside, card=card)

    def write(self, folder: Path, *, card: str) -> None:
        """The files of :meth:`save_pretrained`, into an existing folder."""
        config = {
            "kind": KIND,
            "format": FORMAT,
            "family": family_of(self.config),
            "model": self.config,
            **self.metadata,
        }
        save_file(half_weights(self.model), folder / WEIGHTS)
        (folder / "config.json").write_text(to_json(config))
        (folder / "README.md").write_text(card)

    @classmethod
    def from_pretrained(cls, name: Path | str, *, device: torch.device | str = "cpu") -> "LearnedPolicy":
        """Load what :meth:`save_pretrained` wrote: by its folder, the name of a shipped policy, or a hub id.

        Raises :class:`ValueError` for an unknown name, a foreign or damaged config, and weights that are missing,
        truncated, pickled, not finite, or of another model.
        """
        folder = find_folder(name, KIND)
        path = folder / "config.json"
        if is_lerobot(folder):
            raise ValueError(f"{folder} holds a LeRobot policy: load it as 'lerobot:{folder}'")
        contents = read_config(folder, KIND)
        if contents.get("format") != FORMAT:
            raise ValueError(f"{path} is of format {contents.get('format')!r}; this version reads format {FORMAT}")
        config = parse_config(contents.get("family"), contents.get("model"), where=str(path))
        model = build(config)
        load_weights(model, folder / WEIGHTS)
        for tensor_name, tensor in model.state_dict().items():
            if not tensor.isfinite().all():
                raise ValueError(f"{folder / WEIGHTS} holds values that are not finite in {tensor_name!r}")
        metadata = {key: value for key, value in contents.items() if key not in ("kind", "format", "family", "model")}
        return cls(model, metadata=metadata, device=device)


def parse_config(family: Any, fields: Any, *, where: str) -> ModelConfig:
    """The model config whose parsed JSON is ``fields``. Raises :class:`ValueError` for what is wrong in ``where``."""
    if family not in FAMILIES:
        raise ValueError(f"{where}: family must be one of {sorted(FAMILIES)}, got {family!r}")
    if not isinstance(fields, dict):
        raise ValueError(f"{where}: model must be a mapping of sizes, got {fields!r}")
    try:
        return from_dict(FAMILIES[family], fields, where=f"{where}: model")
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{where}: model does not describe a {family} policy: {error}") from error


def is_lerobot(folder: Path) -> bool:
    """Whether ``folder/config.json`` is one of LeRobot's policies (they name their type and input features)."""
    try:
        contents = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(contents, dict) and "input_features" in contents and "type" in contents
