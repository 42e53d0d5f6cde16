"""``cosmos-sim augment``."""

from pathlib import Path

SHIPPED = {"transfer": "lift"}
"""The shipped worlds, and the template in whose words each was trained."""


def augment(
    *,
    dataset: str,
    out: Path,
    model: str = "transfer",
    variants: int = 5,
    controls: tuple[str, ...] = (),
    keep: tuple[str, ...] = (),
    recolour: tuple[str, ...] = (),
    template: str | None = None,
    language_model: str | None = None,
    language_model_url: str | None = None,
    guidance: float = 3.0,
    steps: int | None = None,
    seed: int = 0,
    cameras: tuple[str, ...] = (),
    episodes: tuple[int, ...] = (),
    annotator: str | None = None,
    labeller: str | None = None,
    checks: str | None = None,
    attempts: int = 3,
    variants_only: bool = False,
    workers: int | None = None,
    ray: str | None = None,
    device: str = "auto",
) -> None:
    """Give a dataset of demonstrations back several times over, in new scenes, its actions untouched.

    Every variant is checked: the robot and the objects must be where they were and move as they did. OUT is a
    LeRobotDataset with actions, states, rewards and time stamps bit for bit the source's; OUT/augmentation.html shows
    sources and variants side by side. Stopped at any moment, the same command goes on.

    Args:
        dataset: The demonstrations: a LeRobotDataset's folder, the name of a recorded one, or a hub id.
        out: The folder of the new dataset, which must not exist yet.
        model: The Transfer world: a shipped name, a folder or a hub id.
        variants: Of each episode.
        controls: What to hold to, as KIND[@PRESET][:REGION][:WEIGHT], such as edge@low:0.5 or blur:robot. By default
            the paper's for robots: medium edges everywhere, very little blur on the robot.
        keep: What stays as the source shows it, such as robot: generation is guided by it, and its pixels are put back.
            Nothing by default.
        recolour: What is drawn with the source's shape and shading, in the one colour that the world gave it, such as
            robot cube dish: for small worlds, which draw small things raggedly. Nothing by default.
        template: The scene in words, with slots that vary: lift, kitchen, tabletop, or a JSON file. That of the
            shipped world by default.
        language_model: Let this model fill the template's slots; the template's own texts are drawn otherwise.
        language_model_url: Where the model is, such as http://localhost:8000/v1 (OpenAI's protocol; the key is read
            from OPENAI_API_KEY).
        guidance: How strongly the prompt guides.
        steps: Sampling steps; the world's own by default.
        seed: Of prompts and noise.
        cameras: The cameras to change; all by default.
        episodes: The episodes to take; all by default.
        annotator: Who finds the robot in what was made: a trained annotator's folder, or hub for the large networks;
            the world's own by default, if it has one.
        labeller: Inverse dynamics that must still read the episode's actions off what was made: their folder, shipped
            name or hub id. Nobody asks by default.
        checks: The file of the checks' limits. By default the annotator's own, or, where it has none, limits that are
            set on the dataset's own videos in other colours.
        attempts: How often a variant is made, until one passes its checks.
        variants_only: Leave the source's episodes out.
        workers: Processes that make variants; one for each GPU by default.
        ray: Make them on a Ray cluster: its address, auto, or local for one of this machine.
        device: cpu, cuda (all GPUs), cuda:0, ...
    """
    from functools import partial

    from cosmos_sim.augmentation.augment import augment as run
    from cosmos_sim.augmentation.control_spec import DEFAULT
    from cosmos_sim.augmentation.limits import limits_json
    from cosmos_sim.augmentation.opening import find_limits, open_augmenter, weights_digest
    from cosmos_sim.augmentation.plan import AugmentConfig
    from cosmos_sim.augmentation.prompts import Prompts, SampledPrompts, WrittenPrompts
    from cosmos_sim.augmentation.template import load_template, template_names
    from cosmos_sim.cli._runner import find_runner
    from cosmos_sim.data.chat import ChatModel
    from cosmos_sim.evaluation.outcome import fingerprint
    from cosmos_sim.world_model.latent_actions import find_inverse_dynamics

    if (language_model is None) != (language_model_url is None):
        raise ValueError("language_model and language_model_url go together")
    if template is None and model not in SHIPPED:
        raise ValueError(f"template is needed for {model!r}: {', '.join(template_names())}, or a JSON file")
    scene = load_template(template or SHIPPED[model])
    config = AugmentConfig(
        dataset,
        model,
        variants=variants,
        controls=controls or tuple(str(spec) for spec in DEFAULT),
        keep=keep,
        recolour=recolour,
        cameras=cameras or None,
        episodes=episodes or None,
        seed=seed,
        guidance=guidance,
        steps=steps,
        attempts=attempts,
        annotator=annotator,
        checks=checks,
        labeller=labeller,
        weights=weights_digest(model),
        labeller_weights=None if labeller is None else fingerprint(find_inverse_dynamics(labeller)),
        template=scene.label,
        language_model=language_model,
    )
    prompts: Prompts = SampledPrompts(scene, seed)
    if language_model is not None and language_model_url is not None:
        prompts = WrittenPrompts(scene, ChatModel(language_model, language_model_url), seed)
    runner, first = find_runner(workers, ray, device)
    limits = find_limits(config, out.absolute(), device=first)
    made = run(
        config,
        out,
        prompts=prompts,
        opener=partial(open_augmenter, config, limits),
        runner=runner,
        include_source=not variants_only,
        record={"template": scene.as_json(), "checks": limits_json(limits)},
    )
    if made.new == 0:
        print(f"{str(out)!r} is complete already: nothing to do")
    share = made.rejected / max(1, made.variants + made.rejected)
    print(
        f"{made.variants} variants of {made.sources} episodes in {str(out)!r}; {made.rejected} rejected ({share:.0%}), "
        f"{len(made.failed)} could not be made"
    )
    for episode, reason in made.skipped.items():
        print(f"episode {episode} is left out: {reason}")
    print(f"look at {str(out / 'augmentation.html')!r}")
