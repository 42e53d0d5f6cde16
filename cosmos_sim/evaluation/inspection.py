"""What :mod:`open_loop`, :mod:`success_head` and :mod:`counterfactual` find, as plain text."""

from collections.abc import Mapping

from cosmos_sim.evaluation.counterfactual import Counterfactual
from cosmos_sim.evaluation.likeness import Likeness
from cosmos_sim.evaluation.open_loop import OpenLoop
from cosmos_sim.evaluation.success_head import Verdicts
from cosmos_sim.evaluation.table import confusion_text, grid


def open_loop_text(result: OpenLoop) -> str:
    """Likeness to the truth at each horizon and camera, then the hand's position."""
    frames, hands = [], []
    for at in result.horizons:
        latents = at.latent_l2
        for index, (camera, found) in enumerate(at.cameras.items()):
            closed = "" if found.closed is None else f"{100 * found.closed:.0f}%"
            # Latents hold all cameras: their figures stand beside the first.
            l2 = [f"{value:.3f}" if index == 0 else "" for value in (latents.world, latents.copy, latents.ceiling)]
            frames += [
                [str(at.horizon), str(at.windows), camera, "world", *_likeness(found.world), closed, l2[0]],
                ["", "", "", "first frame kept", *_likeness(found.copy), "", l2[1]],
                ["", "", "", "tokenizer's best", *_likeness(found.ceiling), "", l2[2]],
            ]
        row = [str(at.horizon), f"{at.position_error.median:.1f} / {at.position_error.mean:.1f}"]
        row.append(f"{at.position_error_copy.median:.1f} / {at.position_error_copy.mean:.1f}")
        if at.read_error is not None and at.read_error_real is not None:
            row += [f"{at.read_error.median:.1f}", f"{at.read_error_real.median:.1f}"]
        hands.append(row)
    header = ["steps", "windows", "camera", "frames", "PSNR", "where changed", "SSIM", "gap closed", "latent L2"]
    moved = f"the hand moved {100 * result.min_path:g} cm or more" if result.min_path else "the hand moved or not"
    lines = [
        f"Open loop: {result.episodes} episodes, their own actions, {result.windows} windows; measured where {moved}",
        "",
        grid(header, frames),
        "",
        "gap closed: share of the way, in dB, from keeping the first frame to the tokenizer's best",
        "",
    ]
    of_hand = ["steps", "predicted hand off by, mm", "first position kept"]
    if any(at.read_error is not None for at in result.horizons):
        of_hand += ["hand in imagined frames off by", "reader alone, on real frames"]
    return "\n".join([*lines, grid(of_hand, hands), "", "medians, and behind the stroke means"])


def success_text(real: Verdicts | None, imagined: Verdicts | None) -> str:
    """The success head's confusion: on real frames, and on imagined ones against the truth under the same actions."""
    parts = []
    for name, found in (("real frames", real), ("imagined frames", imagined)):
        if found is None:
            continue
        parts.append(f"Success head on {name}, episodes from their start")
        for what, table in (
            ("frame by frame", found.frames),
            ("episodes, ever solved", found.ever),
            ("episodes, solved at the last frame", found.last),
        ):
            parts += [f"  {what}", *confusion_text(table)]
        parts.append("")
    if imagined is not None:
        parts.append(
            "Truth is the recording's. Of episodes recorded in the simulator it is what the simulator says of the\n"
            "same actions from the same start, since those are the actions that were recorded."
        )
    return "\n".join(parts).rstrip()


def reader_text(figures: Mapping[str, float]) -> str:
    """A pose reader's own error, to stand beside what it reads."""
    return (
        f"Pose reader, trained on real frames only: off by {figures['median_mm']:.1f} mm (median), 90% below "
        f"{figures['p90_mm']:.1f} mm,\non {figures['frames']:.0f} real frames of held-out episodes"
    )


def counterfactual_text(result: Counterfactual) -> str:
    """Where the hand went under each command, by state and by frame, and how far the futures differ."""
    read = result.reader is not None
    # Where the frames can be read, the predicted hand's way is left to the JSON, its distance is enough.
    header = ["command", "hand in frames, mm" if read else "predicted hand, mm"]
    header += ["simulator's, mm"] if result.ends is not None else []
    header += ["off by", "reader alone"] if read else []
    header += ["by state"] if result.ends is not None else []
    header += ["obeyed"] + (["shown"] if result.identified is not None else [])
    rows = []
    for one in result.directions:
        row = [one.direction, _vector(one.read_displacement or one.displacement)]
        if one.ends is not None and one.twin_displacement is not None:
            row.append(_vector(one.twin_displacement))
            row += [_centimetres(one.ends.read), _centimetres(one.ends.read_real)] if read else []
            row.append(_centimetres(one.ends.predicted))
        row.append(f"{one.obeyed}/{result.starts}")
        rows.append(row + ([f"{one.identified}/{result.starts}"] if one.identified is not None else []))
    lines = []
    if result.ends is not None:
        if result.reader is not None:
            lines += [
                f"off by:  {_centimetres(result.ends.read)} (median) from the hand in the imagined frames to where the "
                "simulator's ends",
                f"         {_centimetres(result.ends.read_real)} on the simulator's own frames: the reader's error; "
                f"{_centimetres(result.ends.read_ceiling)} through the tokenizer",
            ]
        label = "         " if lines else "off by:  "
        lines.append(f"{label}{_centimetres(result.ends.predicted)} (median) by the predicted state")
    lines.append(f"obeyed:  {100 * result.obeyed:.0f}% of commands, by the predicted state, within 45 degrees")
    if result.twin_obeyed is not None and result.identified is not None:
        lines[-1] += f"; {100 * result.twin_obeyed:.0f}% in the simulator"
        lines.append(
            f"shown:   {100 * result.identified:.0f}% of last frames are nearest to the simulator's for their command "
            "(17% by chance)"
        )
    beside = "" if result.twin_difference is None else f" (simulator: {result.twin_difference:.2f})"
    lines += [
        f"futures: last frames of two commands differ by {result.difference:.2f} levels of 255 on average{beside},",
        f"         of the two most alike by {result.smallest_difference:.2f}, clearly in "
        f"{100 * result.smallest_changed:.1f}% of pixels",
    ]
    title = f"Counterfactual: {result.starts} starts, {result.steps} steps of {result.strength:g} in six directions"
    return "\n\n".join([title, grid(header, rows), "\n".join(lines)])


def _likeness(likeness: Likeness) -> list[str]:
    changed = "" if likeness.psnr_changed is None else f"{likeness.psnr_changed:.2f}"
    return [f"{likeness.psnr:.2f}", changed, f"{likeness.ssim:.3f}"]


def _vector(metres: tuple[float, float, float]) -> str:
    return " ".join(f"{1000 * value:+5.0f}" for value in metres)


def _centimetres(metres: float | None) -> str:
    return "" if metres is None else f"{100 * metres:.2f} cm"
