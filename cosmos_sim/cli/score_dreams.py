"""``cosmos-sim score-dreams``."""

from pathlib import Path


def score_dreams(
    *,
    dataset: str,
    judge: tuple[str, ...] = ("twin",),
    task: str | None = None,
    moments: int | None = None,
    grid: bool = False,
    cameras: tuple[str, ...] = (),
    seed: int = 0,
    device: str | None = None,
    out: Path | None = None,
) -> None:
    """Score a dataset of dreams: does each do what it was told, and could it have happened?

    As in DreamGen Bench, but the simulator judges too where it can, and tells how far the other judges are right.

    Args:
        dataset: What cosmos-sim dream made: a LeRobotDataset with meta/dreams.jsonl, by its folder, the name of a
            recorded one, or a hub id.
        judge: twin (the simulator carries out the pseudo-actions), URL#MODEL of a vision-language model (OpenAI's
            protocol; #MODEL only where there are several, the key is read from OPENAI_API_KEY), or the hub id or folder
            of one that transformers loads; several of them.
        task: The simulator's task, where the dreams do not tell; Tabletop by default.
        moments: Frames of each dream that a model is shown; 8 by default.
        grid: Show them as one image, for models that take a single one.
        cameras: Those that a model is shown; all by default.
        seed: Of what a model leaves to chance.
        device: Of a model that transformers loads: cpu, cuda, ...; a GPU where there is one by default.
        out: A JSON file for scores, reasons and calibration. Each judgement is kept beside it at once, so that the same
            command goes on where it was stopped.
    """
    from tqdm import tqdm

    from cosmos_sim.evaluation.report import strict_json, write_whole
    from cosmos_sim.synthesis import bench
    from cosmos_sim.synthesis.bench_report import bench_json, bench_text
    from cosmos_sim.synthesis.judge_vlm import Look
    from cosmos_sim.synthesis.judged import Judged

    if not judge or len(set(judge)) < len(judge):
        raise ValueError(f"judge must name one or several, each once, got {judge}")
    models = [name for name in judge if name != bench.TWIN]
    if not models and (moments is not None or grid or cameras or device is not None):
        raise ValueError("moments, grid, cameras and device would be ignored: they are of models, and only twin judges")
    if bench.TWIN not in judge and task is not None:
        raise ValueError(f"task={task!r} would be ignored: twin is not among the judges")
    look = Look(8 if moments is None else moments, grid, cameras)
    seats = [bench.take_seat(name, task=task, look=look, device=device or "auto") for name in judge]
    judged = Judged(None if out is None else out.with_name(f"{out.stem}.judgements.jsonl"))
    with tqdm(desc="judging", unit="dream", leave=False, delay=1) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        score = bench.score_dreams(dataset, seats, task=task, seed=seed, judged=judged, progress=progress)
    print(bench_text(score))
    if out is not None:
        settings = {"judges": list(judge), "task": task, "moments": look.moments, "grid": grid, "cameras": cameras}
        write_whole(out, strict_json(bench_json(score, settings={**settings, "seed": seed})))
