"""What a training of a control branch consists of."""

from dataclasses import dataclass

from cosmos_sim.world_model.control import ControlConfig
from cosmos_sim.world_model.recipes.predict_config import PredictRecipeConfig


@dataclass(frozen=True, kw_only=True)
class ControlRecipeConfig(PredictRecipeConfig):
    """As of the network, which ``init`` is and stays; and the branch."""

    control: str
    """Its kind, of :data:`cosmos_sim.world_model.control.KINDS`."""
    branch: ControlConfig
    variants: int = 4
    """How many different control videos are drawn of a clip, where they are drawn at random. Their latents are kept."""

    branch_init: str | None = None
    """The branch that it begins from; the network's own first blocks and silence by default."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variants < 1:
            raise ValueError(f"variants must be at least 1, not {self.variants}")
        if self.adapter is not None:
            raise ValueError("adapter would be ignored: what is trained is the branch")
