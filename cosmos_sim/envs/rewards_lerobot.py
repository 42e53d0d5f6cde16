"""LeRobot's reward classifiers as judges of imagined frames: ``CosmosWorld(..., reward_model=LeRobotReward(path))``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray

from cosmos_sim.types import Frames

if TYPE_CHECKING:
    from lerobot.rewards.classifier import Classifier

_IMAGES = "observation.images."


class LeRobotReward:
    """A success classifier that LeRobot trained (``reward_classifier``, as HIL-SERL uses it), as a reward model.

    Args:
        classifier: the folder or hub id of a trained one, or the model itself.
        device: where it computes (``None``: as its config says).

    Its camera ``observation.images.<name>`` is fed by the world's camera ``<name>``; the images are normalised as the
    preprocessor saved beside the weights says, if there is one. LeRobot's other reward models (SARM, Robometer,
    TOPReward) judge whole videos by language models rather than single frames and are refused. The classifier's
    backbone is one of transformers, which the extra ``vla`` of this package installs.

    Raises :class:`ValueError` for another kind of reward model, or for one that does not answer success or failure.
    """

    def __init__(self, classifier: "str | Path | Classifier", *, device: str | None = None) -> None:
        from lerobot.rewards.classifier import Classifier

        self._preprocess: Any = None
        if isinstance(classifier, str | Path):
            from lerobot.configs.rewards import RewardModelConfig

            config = RewardModelConfig.from_pretrained(str(classifier))
            if config.type != "reward_classifier":
                raise ValueError(
                    f"{str(classifier)!r} is a {config.type!r}; only a 'reward_classifier' judges single frames"
                )
            self.model = Classifier.from_pretrained(str(classifier), config=config)
        elif isinstance(classifier, Classifier):
            self.model = classifier.eval()
        else:
            raise ValueError(f"classifier must be a folder, a hub id or a Classifier, got {classifier!r}")
        if self.model.config.num_classes != 2:
            raise ValueError(
                f"the classifier must tell success from failure, not {self.model.config.num_classes} classes"
            )
        self.device = torch.device(device or self.model.config.device)
        self.model.to(self.device)
        if isinstance(classifier, str | Path):
            self._preprocess = _preprocessor(classifier, self.device)
        self._keys = [key for key in self.model.config.input_features if key.startswith("observation.image")]

    @torch.inference_mode()
    def __call__(self, frames: Frames, proprioception: Float32[ndarray, "b t n"], task: str) -> Float32[ndarray, "b t"]:
        """The classifier's probability of success at each frame, from the images alone."""
        b, t = proprioception.shape[:2]
        batch = {key: self._images(frames, key) for key in self._keys}
        if self._preprocess is not None:
            batch = self._preprocess(batch)
        probabilities = self.model.predict([batch[key].to(self.device) for key in self._keys]).probabilities
        return probabilities.float().cpu().numpy().reshape(b, t)

    def _images(self, frames: Frames, key: str) -> torch.Tensor:
        """The camera of ``key`` as LeRobot's models take it: float in [0, 1], ``(b t) c h w``."""
        camera = key.removeprefix(_IMAGES)
        if camera not in frames:
            raise ValueError(f"the classifier looks at {key!r}, but the world's cameras are {', '.join(frames)}")
        images = np.ascontiguousarray(np.moveaxis(frames[camera], -1, -3))
        return torch.from_numpy(images.reshape(-1, *images.shape[-3:])).to(self.device).float() / 255


def _preprocessor(path: str | Path, device: torch.device) -> Any:
    """The normalisation saved beside the classifier's weights, or ``None`` where nothing was saved."""
    from lerobot.processor import PolicyProcessorPipeline

    name = "classifier_preprocessor.json"
    if Path(path).is_dir() and not (Path(path) / name).is_file():
        return None
    overrides = {"device_processor": {"device": str(device)}}
    return PolicyProcessorPipeline.from_pretrained(str(path), config_filename=name, overrides=overrides)
