"""The model card that a trained Predict2.5 network carries as its ``README.md``."""

from collections.abc import Mapping
from typing import Any

from cosmos_sim.world_model.recipes.predict_config import PredictRecipeConfig

WORLD = """\
```python
import gymnasium, cosmos_sim
env = gymnasium.make("CosmosWorld-v0", world="PATH OF THIS FOLDER", reward_model=YOUR_JUDGE_OF_FRAMES)
```"""
NETWORK = """\
```bash
cosmos-sim generate --model FOLDER --sampling predict2.5-2b-pretrained {options} --prompt "..." --out videos
```"""


def predict_card(config: PredictRecipeConfig, provenance: Mapping[str, Any]) -> str:
    """Markdown: what the network is, what it takes, how it was made, and its loss on held-out clips."""
    dit, stage = config.dit, config.stage
    what = "an action-conditioned world" if stage.actions else "a video network"
    adapter = config.adapter
    trained = "all weights" if adapter is None else f"{adapter.kind}, rank {adapter.rank}, alpha {adapter.alpha:g}"
    sizes = ", ".join(f"{height}x{width}" for height, width in stage.sizes)
    actions = "none" if dit.action_dim is None else f"rows of {dit.action_dim} ({dit.action_layout})"
    text = "none" if dit.context_dim is None else config.text or "the zero embedding alone"
    lines = [
        "---",
        "library_name: cosmos-sim",
        "tags: [robotics, world-model, video-generation]",
        "---",
        "",
        f"# Cosmos-Predict2.5: {what} of {dit.num_blocks} blocks of width {dit.model_channels}",
        "",
        WORLD if stage.actions else NETWORK.format(options=_options(config)),
        "",
        "| | |",
        "|---|---|",
        f"| frames | {stage.frames} of {sizes} |",
        f"| given latents | {', '.join(f'{k}: {share:g}' for k, share in enumerate(stage.known) if share)} |",
        f"| text | {text} |",
        f"| actions | {actions} |",
        f"| trained | {trained} |",
        f"| from | {config.init or 'random weights'} |",
        f"| shift of times | {stage.shift:g} |",
        "",
        *making(provenance),
    ]
    return "\n".join(lines)


def making(provenance: Mapping[str, Any]) -> list[str]:
    """The lines of a card on how a network was made, and its ``figures`` of the loss, by noise level."""
    made = dict(provenance)
    figures: Mapping[str, float] = made.pop("figures", {})
    return [
        "## How it was made",
        "",
        *(f"- {name}: `{value}`" for name, value in made.items()),
        "",
        f"## Loss on {'held-out clips' if made.get('held-out clips', 1) else 'clips trained on'}, by noise level",
        "",
        "Squared error of the velocity on frames to be generated. Of latents with unit variance zeros would have 2.",
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| {name} | {value:.4g} |" for name, value in figures.items()),
        "",
        "A network made from NVIDIA's weights stays under the licence of those weights.",
        "",
    ]


def _options(config: PredictRecipeConfig) -> str:
    """What ``generate`` is told so that it asks the network for what it was trained on."""
    stage = config.stage
    height, width = stage.sizes[0]
    options = [f"--size {height},{width}", f"--frames {stage.frames}"]
    if stage.frames > 1 and not stage.known[0]:
        options.append("--image FIRST_FRAME.png")
    if config.dit.context_dim is None:
        options.append("--guidance 0")
    return " ".join(options)
