"""The README.md beside a trained policy: what it is, what it was trained on, how, and how well it predicts."""

from collections.abc import Mapping
from typing import Any

from cosmos_sim.data.word_vectors import WordsConfig
from cosmos_sim.policies.encoder import EncoderConfig

FIGURES = {
    "action_error": "mean absolute error of the executed actions on held-out episodes, in half ranges of each action",
    "action_error_train": "the same on the episodes trained on",
}


def policy_card(family: str, encoder: EncoderConfig, parameters: int, training: Mapping[str, Any]) -> str:
    """Markdown with the Hugging Face front matter; ``training`` is what config.json stores under that name."""
    task = training["task"] if isinstance(training["task"], str) else f"{len(training['task'])} tasks"
    metrics = training.get("metrics", {})
    facts = {key: value for key, value in training.items() if key not in ("metrics", "command", "task")}
    lines = [
        "---",
        "library_name: cosmos-sim",
        "tags: [robotics, imitation-learning]",
        "---",
        "",
        f"# A {family} policy: {task}",
        "",
        f"Sees {_listing(encoder.cameras)} and {encoder.state_dim} proprioceptive values; {parameters:,} parameters.",
        *([] if encoder.language is None else ["", _told(encoder.language)]),
        "",
        "## Training",
        "",
        "| | |",
        "|---|---|",
        *(f"| {key.replace('_', ' ')} | {value} |" for key, value in facts.items()),
        "",
    ]
    if "command" in training:
        lines += ["```", training["command"], "```", ""]
    lines += ["## Figures", "", "| | value | |", "|---|---|---|"]
    lines += [f"| {name} | {value:.4g} | {FIGURES.get(name, '')} |" for name, value in metrics.items()]
    lines += [
        "",
        "An action error is no success rate: run `cosmos-sim evaluate` for that.",
        "",
    ]
    return "\n".join(lines)


def _told(words: WordsConfig) -> str:
    known = ", ".join(words.vocabulary)
    return f'Does what the text `info["task"]` says, and needs one. Trained on the words: {known}.'


def _listing(cameras: tuple[str, ...]) -> str:
    return ", ".join(f"`{camera}`" for camera in cameras) or "no camera"
