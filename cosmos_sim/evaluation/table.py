"""A report as plain text, for a terminal."""

from collections.abc import Sequence

from cosmos_sim.evaluation.report import Comparison, Pairing, Rate, Report
from cosmos_sim.evaluation.trusted import Trusted, trust_text
from cosmos_sim.metrics.agreement import Figure
from cosmos_sim.metrics.confusion import Confusion

AGREEMENT_ROWS = (
    ("Pearson r", "pearson", "how well true rates follow from simulated ones on a line; Fisher-z interval"),
    ("  leaving one out", "drop_one", "lowest and highest r without each policy in turn"),
    ("Spearman rho", "spearman", "the same of the ranks"),
    ("permutation p", "permutation", "chance of such an r if policies were matched at random"),
    ("MMRV", "mmrv", "true rate lost where the world ranks two policies wrongly; 0 is best"),
    ("mean |difference|", "mean_absolute_difference", "of simulated and true rates"),
    ("signed bias", "bias", "simulated minus true: above zero the world is too kind"),
    ("spread of true rates", "truth_spread", "lowest to highest true rate: correlation is easy where this is wide"),
    ("r by luck alone", "lucky_pearson", "of a faultless world with luck of its own: median and 95% of studies"),
    (
        "|difference| by luck",
        "lucky_difference",
        "of a faultless world with luck of its own: median and 95% of studies",
    ),
)
"""Name to print, field of :class:`~cosmos_sim.metrics.agreement.Agreement`, and what it is."""


def text_report(report: Report) -> str:
    """The rates, and for each world how far it agrees with the truth, how it errs, and how fast it ran."""
    sides = [*report.worlds, *([report.truth] if report.truth else [])]
    parts = [
        f"{report.task} - {len(report.policies)} {_plural('policy', len(report.policies))}, "
        f"{len(report.seeds)} start {_plural('state', len(report.seeds))}, "
        f"horizon {report.horizon} steps ({report.horizon / report.fps:g} s)",
        _rates(report, sides),
        "Rates with 95% Clopper-Pearson intervals."
        + (f" Truth: {report.truth}, from the same starts." if report.truth else ""),
    ]
    parts += [_comparison(report, comparison) for comparison in report.comparisons]
    parts.append(_speed(report))
    return "\n\n".join(parts)


def _rates(report: Report, sides: Sequence[str]) -> str:
    header = ["policy"]
    for side in sides:
        header += ["truth: " + side if side == report.truth else "world: " + side, ""]
        if report.policies[0].sides[side].trusted is not None:
            header += ["with trust", ""]
    for comparison in report.comparisons:
        several = f" ({comparison.world})" if len(report.comparisons) > 1 else ""
        header += [f"world - truth{several}", f"same verdict{several}"]
    rows = []
    for index, policy in enumerate(report.policies):
        row = [policy.name]
        for side in sides:
            row += _rate(policy.sides[side].rate)
            if (trusted := policy.sides[side].trusted) is not None:
                row += _rate(trusted)
        for comparison in report.comparisons:
            row += _pair(comparison.pairings[index])
        rows.append(row)
    return grid(header, rows)


def _rate(rate: Rate) -> list[str]:
    low, high = 100 * rate.clopper_pearson.low, 100 * rate.clopper_pearson.high
    return [f"{rate.successes:>3}/{rate.trials}  {100 * rate.rate:3.0f}%", f"[{low:3.0f}, {high:3.0f}]"]


def _pair(pairing: Pairing) -> list[str]:
    table = pairing.verdicts
    return [f"{100 * pairing.difference:+4.0f} points", f"{table.right}/{table.total}"]


def _comparison(report: Report, comparison: Comparison) -> str:
    result = comparison.agreement
    k = result.policies
    lines = [
        f"Agreement of world {comparison.world!r} with {comparison.truth!r}, the truth "
        f"(k = {k} {_plural('policy', k)} x {result.episodes} episodes)"
    ]
    for label, field, meaning in AGREEMENT_ROWS:
        figure: Figure = getattr(result, field)
        lines.append(f"  {label:<21} {figure_text(figure, field):<24} {meaning}")
        if figure.note and figure.note not in meaning:
            lines.append(f"  {'':<21} {'':<24} note: {figure.note}")
    lines.append(f"  {few_policies(k)}")
    lines += ["", "Agreement by horizon: success within so many steps, on either side"]
    lines.append(_indented(*horizon_rows(comparison)))
    lines += ["", "Verdicts of the success head, episode by episode", *_confusions(comparison)]
    if comparison.trusted is not None:
        lines += ["", trusted_text(comparison.trusted), _indented(*trusted_rows(comparison, comparison.trusted))]
    if comparison.start_difference > 1e-3:
        lines.append(f"  warning: the two sides' start states differ by up to {comparison.start_difference:.3g}")
    return "\n".join(lines)


def horizon_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """How agreement changes as episodes get longer: a header, and a row for each horizon."""
    header = ["steps", "mean true rate", "mean simulated", "signed bias", "mean |difference|", "Pearson r"]
    rows = []
    for at in comparison.horizons:
        result = at.agreement
        texts = [figure_text(getattr(result, f), f) for f in ("bias", "mean_absolute_difference", "pearson")]
        rows.append([str(at.steps), f"{at.true_rate:.2f}", f"{at.simulated_rate:.2f}", *texts])
    return header, rows


def trusted_text(trusted: Trusted) -> str:
    """What trust changes, in words."""
    share = f"it was lost in {trusted.lost} of {trusted.episodes} imagined episodes"
    count = trusted.withdrawn
    until = {0: "none of them a success", 1: "1 of them a success"}.get(count, f"{count} of them successes")
    return f"With trust: {trust_text(trusted.rule)}; {share}, {until} until then"


def trusted_rows(comparison: Comparison, trusted: Trusted) -> tuple[list[str], list[list[str]]]:
    """Agreement without and with trust: a header, and a row for each figure."""
    rows = [
        [label.strip(), *(figure_text(getattr(agreement, field), field) for agreement in pair)]
        for label, field, _ in AGREEMENT_ROWS
        if not field.startswith("lucky") and field != "truth_spread"
        for pair in [(comparison.agreement, trusted.agreement)]
    ]
    rows.append(
        ["same verdict", *(f"{table.right}/{table.total}" for table in (comparison.verdicts, trusted.verdicts))]
    )
    if comparison.replay is not None and trusted.replay is not None:
        tables = comparison.replay, trusted.replay
        rows.append(["same actions, same verdict", *(f"{table.right}/{table.total}" for table in tables)])
    return ["", "without trust", "with trust"], rows


def few_policies(k: int) -> str:
    """What ``k`` policies can and cannot show."""
    counts = "Only policies trained independently of each other count in k."
    return f"{counts} {k} are few: read the differences, not r." if k < 8 else counts


def figure_text(figure: Figure, field: str) -> str:
    """A figure with its interval, as people write it."""
    if figure.value is None:
        return "undefined"
    if field == "drop_one":
        return f"{figure.low:.2f} to {figure.high:.2f}"
    if field == "truth_spread":
        return f"{figure.low:.2f} to {figure.high:.2f}"
    sign = "+" if field == "bias" else ""
    digits = 3 if field in ("permutation", "mmrv", "mean_absolute_difference", "lucky_difference", "bias") else 2
    value = f"{figure.value:{sign}.{digits}f}"
    if figure.low is None or figure.high is None:
        return value
    return f"{value}  [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"


def _confusions(comparison: Comparison) -> list[str]:
    lines = ["  closed loop on both sides, same start", *confusion_text(comparison.verdicts)]
    if comparison.replay is not None:
        lines += ["  the same actions replayed in the simulator", *confusion_text(comparison.replay)]
    return lines


def confusion_text(table: Confusion) -> list[str]:
    """The four counts in two indented lines under a header, and what share is right."""
    balanced = table.balanced_accuracy
    shares = f"{100 * (table.accuracy or 0):.0f}% right"
    shares += ", balanced accuracy undefined: the truth holds one outcome only" if balanced is None else ""
    shares += "" if balanced is None else f", balanced accuracy {100 * balanced:.0f}%"
    return [
        f"    {'':<18}{'truth: success':>16}{'truth: failure':>16}",
        f"    {'world: success':<18}{table.true_positive:>16}{table.false_positive:>16}",
        f"    {'world: failure':<18}{table.false_negative:>16}{table.true_negative:>16}     {shares}",
    ]


def _speed(report: Report) -> str:
    lines = ["Speed"]
    for one in report.throughput:
        each = 1000 * one.policy_seconds / one.steps
        lines.append(
            f"  {one.side:<21} {one.steps_per_second:6.1f} steps/s over all environments "
            f"({one.steps} steps; policies {each:.0f} ms a step)"
        )
    return "\n".join(lines)


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in plain text: the first column flush left, columns two spaces apart, a rule under the header."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    title = "  ".join(cell.ljust(width) for cell, width in zip(header, widths, strict=True)).rstrip()
    return "\n".join([title, "  ".join("-" * width for width in widths), *lines])


def _indented(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("  " + line for line in grid(header, rows).splitlines())


def _plural(word: str, count: int) -> str:
    if count == 1:
        return word
    return word[:-1] + "ies" if word.endswith("y") else word + ("es" if word.endswith("s") else "s")
