"""The model card that a trained world carries as its ``README.md``."""

from cosmos_sim.world_model.world import WorldConfig


def world_card(config: WorldConfig) -> str:
    """Markdown: what the world is, its spaces, how it was made, and what was measured on held-out episodes."""
    spec, provenance = config.spec, dict(config.provenance)
    figures = provenance.pop("figures", {})
    dit = config.dynamics.dit
    kind, takes = "action-conditioned", f"{spec.action_dim}, at {spec.fps:g} Hz"
    use = [
        "```python",
        "import gymnasium, cosmos_sim",
        'env = gymnasium.make("CosmosWorld-v0", world="PATH OR NAME OF THIS FOLDER")',
        "```",
    ]
    if config.words is not None:
        kind, takes = "instructed", f"none: an instruction, {spec.fps:g} frames a second"
        use = [
            "```",
            "cosmos-sim dream --model PATH_OF_THIS_FOLDER --dataset SEED --labeller READER --out DREAMS",
            "```",
        ]
    cameras = ", ".join(f"`{name}` {h}x{w}" for name, (h, w) in spec.cameras.items())
    lines = [
        "---",
        "library_name: cosmos-sim",
        "license: apache-2.0",
        "tags: [robotics, world-model, gymnasium]",
        "---",
        "",
        f"# A small world: {spec.task}",
        "",
        f"An {kind} video world for cosmos-sim: a flow-matching transformer of the Cosmos-Predict2.5 design",
        f"({dit.num_blocks} blocks of width {dit.model_channels}) over a small frame-wise tokenizer.",
        "",
        *use,
        "",
        "| | |",
        "|---|---|",
        f"| cameras | {cameras} |",
        f"| actions | {takes} |",
        f"| proprioception | {spec.state_dim} numbers |",
        f"| success head | {'yes' if spec.has_success else 'no'} |",
        f"| evaluations per frame | {config.sampling_steps} |",
        f"| context | the first frame and the last {config.dynamics.context} |",
        "",
        "## How it was made",
        "",
        *(f"- {name}: `{value}`" for name, value in provenance.items()),
        "",
        "## Measured on held-out episodes",
        "",
        "PSNR in dB after so many imagined steps, beside copying the frame that the world started from and the",
        "tokenizer's own ceiling; `position_error` in the data's units.",
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| {name} | {value:.4g} |" for name, value in figures.items()),
        "",
        "## Limits",
        "",
        "A world this small is sure only of what its data hold. Its verdicts are to be trusted as far as an evaluation",
        "against the truth (`cosmos-sim evaluate --truth twin`) says, and no further.",
        "",
    ]
    return "\n".join(lines)
