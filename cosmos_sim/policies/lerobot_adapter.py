"""Any LeRobot policy as one of ours: ``load_policy("lerobot:PATH")``, with the processors saved beside it.

``PATH`` is a folder or a hub id. LeRobot's name for a camera is ``observation.images.<camera>``; where the policy calls
a camera otherwise than the environment, say so: ``"lerobot:PATH?top=agentview&left=wrist"`` shows the policy, as
its ``top``, what the environment calls ``agentview``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float32
from numpy import ndarray
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional as F

from cosmos_sim.data.pretrained import read_tensors
from cosmos_sim.policies.episode_noise import EpisodeNoise
from cosmos_sim.policies.language import instructions
from cosmos_sim.policies.learned import episode_generators, is_lerobot
from cosmos_sim.types import Observation

STATE, IMAGE, IMAGES = "observation.state", "observation.image", "observation.images."
TOKENIZER = "TokenizerProcessorStep"


class LeRobotPolicy:
    """Calls ``select_action`` on every observation of the whole batch, so that the policy keeps its own queues.

    A policy that reads, such as SmolVLA, is told what ``info["task"]`` says: one text, or one for each environment.
    Images are resized to the size that the policy declares. Diffusion and flow policies draw their noise from each
    episode's seed; other randomness depends on the seeds of the whole batch.
    """

    def __init__(
        self,
        policy: Any,
        preprocessor: Any,
        postprocessor: Any,
        *,
        cameras: Mapping[str, str] | None = None,
        task: str = "",
    ) -> None:
        """Around a ``PreTrainedPolicy`` and its two processor pipelines.

        ``cameras`` maps the policy's names of cameras to the environment's; ``task`` is
        what policies that read are told, in place of ``info["task"]``.
        """
        self.policy, self.preprocessor, self.postprocessor = policy, preprocessor, postprocessor
        self.task = task
        steps = getattr(preprocessor, "steps", ())
        self.reads = any(type(step).__name__ == TOKENIZER for step in steps)
        """Whether the policy needs to be told its task; others are told it where there is one."""
        inputs = policy.config.input_features
        images = {name: feature for name, feature in inputs.items() if name == IMAGE or name.startswith(IMAGES)}
        other = sorted(inputs.keys() - images.keys() - {STATE})
        if other:
            raise ValueError(
                f"the LeRobot policy needs {other}; an environment gives {IMAGES}<camera> and {STATE} only"
            )
        self.state_dim: int | None = inputs[STATE].shape[0] if STATE in inputs else None
        self.image_sizes: dict[str, tuple[int, int]] = {name: feature.shape[1:] for name, feature in images.items()}
        self.cameras = {name: name.removeprefix(IMAGES) for name in images}
        for theirs, ours in (cameras or {}).items():
            feature = theirs if theirs in images else IMAGES + theirs
            if feature not in images:
                known = sorted(self.cameras.values())
                raise ValueError(f"the LeRobot policy has no camera {theirs!r} to map to {ours!r}; it has {known}")
            self.cameras[feature] = ours
        self._generators: list[torch.Generator] = []
        self._rng: Tensor = torch.get_rng_state()

    @classmethod
    def from_pretrained(
        cls, path: str, *, cameras: Mapping[str, str] | None = None, task: str = "", device: torch.device | str = "cpu"
    ) -> "LeRobotPolicy":
        """Load a policy and its processors; ``path`` may carry a mapping of cameras after a ``?``.

        Raises :class:`ValueError` if there is no LeRobot policy, if it lacks processors (saved before LeRobot 0.4), if
        its weights are missing, damaged or of another model, and if it needs what no environment gives.
        """
        path, _, query = path.partition("?")
        mapping = {**_parse_mapping(query), **(cameras or {})}
        folder = _folder(path)
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.policies.factory import get_policy_class, make_pre_post_processors
        from lerobot.utils.constants import POLICY_POSTPROCESSOR_DEFAULT_NAME, POLICY_PREPROCESSOR_DEFAULT_NAME

        for name in (POLICY_PREPROCESSOR_DEFAULT_NAME, POLICY_POSTPROCESSOR_DEFAULT_NAME):
            if not (folder / f"{name}.json").is_file():
                raise ValueError(f"{folder} has no {name}.json: save it with LeRobot 0.4 or later, or migrate it")
        try:
            config = PreTrainedConfig.from_pretrained(folder)
        except Exception as error:  # draccus raises several unrelated types
            raise ValueError(f"{folder / 'config.json'} is no config that LeRobot reads: {error}") from error
        if config.use_peft:
            raise ValueError(f"{folder} holds a PEFT adapter; merge it into its base policy first")
        config.device = str(device)
        try:
            policy = get_policy_class(config.type).from_pretrained(folder, config=config, strict=True)
        except (SafetensorError, RuntimeError, FileNotFoundError) as error:
            read_tensors(folder / "model.safetensors")
            raise ValueError(f"{folder} does not fit its config.json: {' '.join(str(error).split())}") from error
        preprocessor, postprocessor = make_pre_post_processors(
            config, str(folder), preprocessor_overrides={"device_processor": {"device": str(device)}}
        )
        return cls(policy, preprocessor, postprocessor, cameras=mapping, task=task)

    def reset(self, seeds: Sequence[int]) -> None:
        """Begin ``len(seeds)`` episodes. Raises :class:`ValueError` for a negative seed."""
        self._generators = episode_generators(seeds)
        mixed = np.random.SeedSequence([int(seed) for seed in seeds]).generate_state(1, np.uint64)[0]
        self._rng = torch.Generator().manual_seed(int(mixed)).get_state()
        for part in (self.policy, self.preprocessor, self.postprocessor):
            part.reset()

    def act(self, observation: Observation, info: Mapping[str, Any]) -> Float32[ndarray, "b 1 a"]:
        """The next action of every environment.

        Raises :class:`ValueError` if the environment lacks a camera, the state has another size, the number of
        environments is not the one that :meth:`reset` was told, or a policy that reads has no task.
        """
        batch = self._batch(observation, info)
        with torch.random.fork_rng(), torch.inference_mode():
            torch.set_rng_state(self._rng)
            with EpisodeNoise(self._generators):
                action = self.policy.select_action(self.preprocessor(batch))
            self._rng = torch.get_rng_state()
            action = self.postprocessor(action)
        return action.float().cpu().numpy()[:, None]

    def _batch(self, observation: Observation, info: Mapping[str, Any]) -> dict[str, Any]:
        state = np.asarray(observation["agent_pos"], dtype=np.float32)
        if len(state) != len(self._generators):
            raise ValueError(f"act() got {len(state)} environments, but reset() began {len(self._generators)} episodes")
        told = {"task": self.task} if self.task else info
        silent = told.get("task") is None and not self.reads
        batch: dict[str, Any] = {"task": [""] * len(state) if silent else instructions(told, len(state))}
        if self.state_dim is not None:
            if state.shape[1] != self.state_dim:
                raise ValueError(f"the LeRobot policy needs a state of {self.state_dim} values, got {state.shape[1]}")
            batch[STATE] = torch.from_numpy(state)
        pixels = observation["pixels"]
        for feature, camera in self.cameras.items():
            if feature == IMAGE and camera == IMAGE and len(pixels) == 1:
                camera = next(iter(pixels))
            if camera not in pixels:
                name = feature.removeprefix(IMAGES)
                raise ValueError(
                    f"the LeRobot policy needs camera {camera!r}; the environment has {sorted(pixels)}; "
                    f"name the one meant: 'lerobot:PATH?{name}={next(iter(sorted(pixels)), 'CAMERA')}'"
                )
            batch[feature] = _image(pixels[camera], self.image_sizes[feature])
        return batch


def _image(frames: ndarray, size: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    """LeRobot's form of frames ``b h w c``: channels first, in [0, 1]."""
    images = rearrange(torch.from_numpy(np.ascontiguousarray(frames)), "b h w c -> b c h w").float() / 255
    if tuple(images.shape[2:]) == tuple(size):
        return images
    return F.interpolate(images, size=tuple(size), mode="bilinear", antialias=True)


def _folder(path: str) -> Path:
    folder = Path(path)
    if not folder.is_dir() and path.count("/") == 1 and not path.startswith((".", "/")):
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(path))
        except Exception as error:  # the hub client raises many unrelated types
            raise ValueError(f"no folder {path!r}, and the hub did not give it ({type(error).__name__})") from error
    if not folder.is_dir():
        raise ValueError(f"no folder {path!r} with a LeRobot policy")
    if not is_lerobot(folder):
        raise ValueError(f"{folder} holds no LeRobot policy: its config.json names no type and input_features")
    return folder


def _parse_mapping(query: str) -> dict[str, str]:
    mapping = {}
    for part in filter(None, query.split("&")):
        theirs, equals, ours = part.partition("=")
        if not (theirs and equals and ours):
            raise ValueError(f"a mapping of cameras reads POLICY_CAMERA=ENVIRONMENT_CAMERA, got {part!r}")
        mapping[theirs] = ours
    return mapping
