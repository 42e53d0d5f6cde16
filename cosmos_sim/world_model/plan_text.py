"""A plan as text for a terminal, and as plain values for a file."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cosmos_sim.world_model.plan import PUBLISHED, Advice, Plan
from cosmos_sim.world_model.plan_devices import ASSUMPTIONS, DEVICES, GIB
from cosmos_sim.world_model.plan_memory import MOMENTS
from cosmos_sim.world_model.plan_workload import weights

SPEEDS = (
    ("products", "matrix products"),
    ("attention", "attention"),
    ("elementwise", "element-wise kernels"),
    ("exchange", "communication that nothing hides"),
    ("waiting", "communication longer than what hides it"),
    ("update", "the optimiser's update"),
)
"""Fields of a plan's speed, and what to call them."""


def advice_text(advice: Advice, *, name: str, tokens: float | None) -> str:
    """What was asked for, whether it fits, and what would; assumptions and published figures below.

    Args:
        name: of the network.
        tokens: to train on; days are told for them.
    """
    parts = [plan_text(advice.plan, name=name, tokens=tokens)]
    if not advice.plan.fits:
        parts.append(_instead(advice, name=name, tokens=tokens))
    return "\n\n".join([*parts, assumptions_text(advice.plan), published_text()])


def plan_text(plan: Plan, *, name: str, tokens: float | None) -> str:
    """One plan: its layout, memory, arithmetic, communication and time."""
    workload, parallel = plan.workload, plan.parallel
    what = f"{workload.frames} frames" if workload.frames > 1 else "an image"
    t, h, w = workload.latent
    group = "context group" if workload.context(parallel) > 1 else "GPU"
    head = [
        f"{name}, {weights(workload.network).all / 1e9:.2f} billion weights, on {plan.gpus} x {plan.device.name}",
        f"  sample  {what} of {workload.size[0]}x{workload.size[1]}: latents {t}x{h}x{w}, {workload.tokens:,} tokens",
        f"  layout  {layout_text(plan)}",
        f"  step    {plan.samples:,} samples ({workload.batch} x {workload.accumulate} for each {group}), "
        f"{plan.samples * workload.tokens / 1e6:,.1f} million tokens",
    ]
    return "\n\n".join(["\n".join(head), _memory(plan), _arithmetic(plan), _traffic(plan), _time(plan, tokens)])


def layout_text(plan: Plan) -> str:
    parallel = plan.parallel
    degrees = f"replicate {parallel.replicate} x shard {parallel.shard} x context {parallel.context}"
    return f"{degrees}, checkpointing {parallel.checkpointing}, blocks {'compiled' if parallel.compile else 'eager'}"


def options(plan: Plan) -> str:
    """The layout as options of the command line."""
    p = plan.parallel
    return f"--replicate {p.replicate} --shard {p.shard} --context {p.context} --checkpointing {p.checkpointing}"


def _memory(plan: Plan) -> str:
    memory = plan.memory
    titles = ["forward done", "last block back", "first block back", "update"]
    rows = [[part.name, *(_gib(getattr(part, moment)) for moment in MOMENTS)] for part in memory.parts]
    rows.append(["in all", *(_gib(memory.at(moment)) for moment in MOMENTS)])
    needed, there = memory.peak / GIB, plan.device.memory / GIB
    verdict = (
        f"fits: {there - needed:.1f} GiB are left" if plan.fits else f"does not fit: {needed - there:.1f} GiB lack"
    )
    return (
        table(["Memory of one GPU, GiB", *titles], rows) + f"\nIt needs {needed:.1f} of {there:.1f} GiB, and {verdict}."
    )


def _gib(size: int) -> str:
    return f"{size / GIB:.2f}" if size else "-"


def _arithmetic(plan: Plan) -> str:
    cost = plan.cost
    rows = [
        ["matrix products", f"{cost.products / 1e15:.3f}", "forward and backward"],
        ["attention", f"{cost.attention / 1e15:.3f}", "forward and backward"],
        ["computed again", f"{cost.again / 1e15:.3f}", "not counted in MFU"],
    ]
    return table(["Arithmetic of one GPU in a step, Pflop", "", ""], rows, left=(0, 2))


def _traffic(plan: Plan) -> str:
    if not plan.traffic:
        return "One GPU alone sends nothing."
    rows = [
        [kind.name, f"{kind.bytes / 1e9:.2f}", f"{1e3 * kind.seconds:.1f}", "beside computation" if kind.hidden else ""]
        for kind in plan.traffic
    ]
    return table(["Sent by one GPU in a step", "GB", "ms", ""], rows, left=(0, 3))


def _time(plan: Plan, tokens: float | None) -> str:
    speed, step = plan.speed, plan.speed.step
    rows = []
    for field, name in SPEEDS:
        seconds = getattr(speed, field)
        if seconds:
            rows.append([name, f"{seconds:.3f}", f"{100 * seconds / step:.1f}%"])
    rows.append(["in all", f"{step:.3f}", ""])
    rate = plan.tokens_per_second
    lines = [
        table(["Time of a step, s", "", ""], rows),
        f"Expected MFU {100 * plan.mfu:.1f}%, {rate:,.0f} tokens a second, "
        f"{rate / plan.workload.tokens * 86400:,.0f} samples a day.",
    ]
    if tokens is not None:
        gpu_hours = plan.days(tokens) * 24 * plan.gpus
        lines.append(f"{tokens:,.4g} tokens take {plan.days(tokens):,.1f} days ({gpu_hours:,.0f} GPU hours).")
    return "\n".join(lines)


def _instead(advice: Advice, *, name: str, tokens: float | None) -> str:
    if advice.instead is not None:
        text = f"The nearest that fits: {options(advice.instead)}"
        return f"{text}\n\n{plan_text(advice.instead, name=name, tokens=tokens)}"
    if advice.devices:
        names = ", ".join(f"{DEVICES[key].name} (--gpu {key})" for key in advice.devices)
        return f"No layout fits on these GPUs. One does on as many of: {names}."
    return (
        "No layout fits on as many GPUs of any kind here: fewer frames or pixels, a smaller batch, or more GPUs would."
    )


def assumptions_text(plan: Plan) -> str:
    """The numbers that are not formulas, with their sources."""
    device = plan.device
    rows = [
        ["attention, forward", f"{device.attention_forward:.2f}", "of peak", device.attention_source],
        ["attention, backward", f"{device.attention_backward:.2f}", "of peak", "the same"],
    ]
    for one in ASSUMPTIONS:
        value, unit = one.value, one.unit
        if unit == "bytes":
            value, unit = value / GIB, "GiB"
        elif unit == "s":
            value, unit = value * 1e6, "us"
        rows.append([one.name, f"{value:.2f}", unit, one.source])
    rows += [
        ["peak", f"{device.peak / 1e12:.0f}", "Tflop/s", "dense bf16, as the maker states it"],
        ["memory speed", f"{device.memory_speed / 1e12:.2f}", "TB/s", "as the maker states it"],
        ["NVLink, network", f"{device.link / 1e9:.0f}, {device.network / 1e9:.0f}", "GB/s", "one way, for each GPU"],
    ]
    return table(["Assumed", "", "", "source"], rows, left=(0, 2, 3))


def published_text() -> str:
    """What the same assumptions say of trainings whose MFU is known."""
    rows = []
    for one in PUBLISHED:
        plan = one.plan()
        shape = f"{one.gpus} x {plan.device.name}, context {one.parallel.context}"
        rows.append([f"{one.preset}, {shape}", f"{100 * plan.mfu:.2f}%", f"{100 * one.mfu:.2f}%", one.source])
    note = (
        "Plans know no stragglers, data loading, image steps or checkpoints, and not the kernels of those trainings:\n"
        "take what they say for what a well-tuned run can reach."
    )
    return table(["MFU of 720p, 93 frames", "this plan", "published", "source"], rows, left=(0, 3)) + "\n" + note


def plain(advice: Advice, *, name: str, tokens: float | None) -> dict[str, Any]:
    """All figures, for JSON."""
    return {
        "format": "cosmos-sim plan 1",
        "network": name,
        "asked": _plain(advice.plan, tokens),
        "instead": advice.instead and _plain(advice.instead, tokens),
        "devices_that_fit": list(advice.devices),
        "assumptions": [asdict(one) for one in ASSUMPTIONS],
        "published": [
            {"network": one.preset, "mfu": one.mfu, "plan": one.plan().mfu, "source": one.source} for one in PUBLISHED
        ],
    }


def _plain(plan: Plan, tokens: float | None) -> dict[str, Any]:
    return {
        "gpus": plan.gpus,
        "device": asdict(plan.device),
        "workload": asdict(plan.workload),
        "parallel": asdict(plan.parallel),
        "fits": plan.fits,
        "memory_bytes": {
            "available": plan.device.memory,
            "peak": plan.memory.peak,
            "fullest": plan.memory.fullest,
            "parts": [asdict(part) for part in plan.memory.parts],
        },
        "flops_of_a_gpu": {**asdict(plan.cost), "model": plan.cost.model},
        "sent_by_a_gpu": [asdict(kind) for kind in plan.traffic],
        "seconds": {**asdict(plan.speed), "step": plan.speed.step},
        "mfu": plan.mfu,
        "samples_of_a_step": plan.samples,
        "tokens_per_second": plan.tokens_per_second,
        "days": None if tokens is None else {"tokens": tokens, "days": plan.days(tokens)},
    }


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)) -> str:
    """Columns two spaces apart, numbers flush right but for those in ``left``, a rule under the header."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = (
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join([line(header), "-" * len(line(["-" * width for width in widths])), *(line(row) for row in rows)])
