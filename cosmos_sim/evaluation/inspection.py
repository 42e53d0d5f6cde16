"""What :mod:`open_loop` and :mod:`counterfactual` find, as plain text."""

from cosmos_sim.evaluation.counterfactual import Counterfactual
from cosmos_sim.evaluation.open_loop import Likeness, OpenLoop
from cosmos_sim.evaluation.table import confusion_text, grid


def open_loop_text(result: OpenLoop) -> str:
    """Likeness to the truth at each horizon, the error of the hand's position, and the success head's verdicts."""
    header = ["steps", "windows", "camera", "frames", "PSNR", "PSNR where changed", "SSIM", "hand off by"]
    rows = []
    for at in result.horizons:
        off, off_copy = f"{at.position_error:.1f} mm", f"{at.position_error_copy:.1f} mm"
        for camera, found in at.cameras.items():
            rows += [
                [str(at.horizon), str(at.windows), camera, "world", *_likeness(found.world), off],
                ["", "", "", "first frame kept", *_likeness(found.copy), off_copy],
                ["", "", "", "tokenizer's best", *_likeness(found.ceiling), ""],
            ]
    parts = [f"Open loop: {result.episodes} episodes, their own actions", grid(header, rows)]
    if result.success is not None:
        parts.append("\n".join(["Success head on imagined frames, frame by frame", *confusion_text(result.success)]))
    return "\n\n".join(parts)


def counterfactual_text(result: Counterfactual) -> str:
    """Where the hand went under each command, and how far the futures differ."""
    header = ["command", "imagined hand, mm", "simulator's, mm", "obeyed", "frame shows it"]
    rows = []
    for one in result.directions:
        twin = "" if one.twin_displacement is None else _vector(one.twin_displacement)
        seen = "" if one.identified is None else f"{one.identified}/{result.starts}"
        rows.append([one.direction, _vector(one.displacement), twin, f"{one.obeyed}/{result.starts}", seen])
    lines = [f"obeyed: {100 * result.obeyed:.0f}% of commands, by the predicted position, within 45 degrees"]
    if result.twin_obeyed is not None and result.identified is not None:
        lines += [
            f"        {100 * result.twin_obeyed:.0f}% in the simulator",
            f"shown:  {100 * result.identified:.0f}% of last frames are nearest to the simulator's for their command "
            "(17% by chance)",
        ]
    beside = "" if result.twin_difference is None else f" (simulator: {result.twin_difference:.2f})"
    lines.append(
        f"videos: last frames of two commands differ by {result.difference:.2f} levels of 255 on average{beside}, "
        f"of the two most alike by {result.smallest_difference:.2f}, in {100 * result.smallest_changed:.1f}% of pixels "
        "clearly"
    )
    title = f"Counterfactual: {result.starts} starts, {result.steps} steps of {result.strength:g} in six directions"
    return "\n\n".join([title, grid(header, rows), "\n".join(lines)])


def _likeness(likeness: Likeness) -> list[str]:
    changed = "" if likeness.psnr_changed is None else f"{likeness.psnr_changed:.2f}"
    return [f"{likeness.psnr:.2f}", changed, f"{likeness.ssim:.3f}"]


def _vector(metres: tuple[float, float, float]) -> str:
    return " ".join(f"{1000 * value:+6.0f}" for value in metres)
