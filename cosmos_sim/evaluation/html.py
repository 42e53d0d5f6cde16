"""A report as one page that needs nothing else: styles, script, charts and videos are inside it."""

import base64
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path

from cosmos_sim.evaluation.cards import choose, episode_card, filters
from cosmos_sim.evaluation.chart import Point, interval_bar, scatter
from cosmos_sim.evaluation.report import Comparison, Outcomes, Report, write_whole
from cosmos_sim.evaluation.table import (
    AGREEMENT_ROWS,
    few_policies,
    figure_text,
    horizon_rows,
    trusted_rows,
    trusted_text,
)
from cosmos_sim.metrics.confusion import Confusion


def write_page(report: Report, outcomes: Outcomes, path: str | Path, *, cards: int = 90) -> None:
    """Write the page. Beyond ``cards`` episodes, videos of some are left out, those of differing verdicts last."""
    write_whole(path, page(report, outcomes, cards=cards))


def page(report: Report, outcomes: Outcomes, *, cards: int = 90) -> str:
    """The page as HTML."""
    body = "".join(
        [
            _head(report),
            _tiles(report),
            _rates(report),
            *(_agreement(report, comparison) for comparison in report.comparisons),
            _episodes(report, outcomes, cards),
            _notes(report),
        ]
    )
    style, script = _resource("report.css"), _resource("report.js")
    title = escape(f"{report.task}: {len(report.policies)} policies in {' and '.join(report.worlds)}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{title}</title><link rel="icon" href="data:,"><style>\n{style}</style></head>\n'
        f"<body><main>{body}</main>\n<script>\n{script}</script></body></html>\n"
    )


def _head(report: Report) -> str:
    policies, starts = len(report.policies), len(report.seeds)
    worlds = " and ".join(f"<em>{escape(world)}</em>" for world in report.worlds)
    truth = ' and, from the same start states, in the <span class="truth">simulator</span>' if report.truth else ""
    return (
        '<header><div class="eyebrow"><span>cosmos-sim</span> <span>evaluation</span>'
        '<button id="theme" type="button" title="light or dark">◐</button></div>'
        f"<h1>{escape(report.task[:1].upper() + report.task[1:])}</h1>"
        f'<p class="lead">{_count(policies, "policy")} acted in closed loop inside the '
        f'<span class="world">learned {"world" if len(report.worlds) == 1 else "worlds"}</span> {worlds}{truth}: '
        f"{_count(starts, 'episode')} each, ended by success or after {report.horizon} steps "
        f"({report.horizon / report.fps:g} seconds).</p></header>"
    )


def _tiles(report: Report) -> str:
    tiles = []
    for comparison in report.comparisons:
        result = comparison.agreement
        several = f" · {comparison.world}" if len(report.comparisons) > 1 else ""
        low, high = result.pearson.low, result.pearson.high
        interval = f"95% [{low:.2f}, {high:.2f}]" if low is not None and high is not None else "no interval"
        tiles += [
            (f"Pearson r{several}", _number(result.pearson.value, ".2f"), f"k = {result.policies}, {interval}"),
            ("mean difference of rates", _points(result.mean_absolute_difference.value, ""), "absolute"),
            ("signed bias", _points(result.bias.value, "+"), _kind(result.bias.value)),
            (
                "same verdict",
                f"{comparison.verdicts.right}<small>/{comparison.verdicts.total}</small>",
                "episode by episode",
            ),
        ]
    for speed in report.throughput:
        if speed.side != report.truth:
            tiles.append((f"speed of {speed.side}", f"{speed.steps_per_second:.0f}", "steps a second"))
    cells = (f"<div><dt>{escape(name)}</dt><dd>{value}</dd><p>{escape(note)}</p></div>" for name, value, note in tiles)
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def _rates(report: Report) -> str:
    sides = [*report.worlds, *([report.truth] if report.truth else [])]
    rows = []
    for policy in report.policies:
        for index, side in enumerate(sides):
            rate, kind = policy.sides[side].rate, "truth" if side == report.truth else "world"
            name = f'<th scope="rowgroup" rowspan="{len(sides)}">{escape(policy.name)}</th>' if index == 0 else ""
            rows.append(
                f'<tr class="{"first" if index == 0 else ""}">{name}<td class="side {kind}">{escape(side)}</td>'
                f'<td class="number">{rate.successes}<small>/{rate.trials}</small></td>'
                f'<td class="number"><b>{100 * rate.rate:.0f}</b><small>%</small></td>'
                f'<td class="wide">{interval_bar(rate, kind)}</td>'
                f'<td class="number range">{100 * rate.clopper_pearson.low:.0f} to '
                f"{100 * rate.clopper_pearson.high:.0f}</td></tr>"
            )
    return (
        "<section><h2>Success rates</h2>"
        '<p class="aside">Bars are exact 95% intervals (Clopper-Pearson): what this many episodes leave open.</p>'
        '<div class="scroll"><table class="rates"><thead><tr><th>policy</th><th>side</th><th class="number">solved</th>'
        '<th class="number">rate</th><th class="wide"><span class="scale"><i>0</i><i>50</i><i>100%</i></span></th>'
        f'<th class="number range">interval</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div></section>'
    )


def _agreement(report: Report, comparison: Comparison) -> str:
    world, truth = comparison.world, comparison.truth
    result = comparison.agreement
    rows = []
    for label, field, meaning in AGREEMENT_ROWS:
        figure = getattr(result, field)
        note = f'<span class="note">{escape(figure.note)}</span>' if figure.note and figure.note not in meaning else ""
        value, _, interval = figure_text(figure, field).partition("  ")
        rows.append(
            f'<tr><th scope="row">{escape(label.strip())}</th><td class="figure">{escape(value)}'
            f'<small>{escape(interval)}</small></td><td class="meaning">{escape(meaning)}{note}</td></tr>'
        )
    points = [Point(policy.name, policy.sides[world].rate, policy.sides[truth].rate) for policy in report.policies]
    chart = scatter(points, world=world)
    replay = (
        _confusion(comparison.replay, "Same actions", "The world's actions, replayed in the simulator from its start.")
        if comparison.replay is not None
        else ""
    )
    warning = (
        f'<p class="warning">The two sides\' start states differ by up to {comparison.start_difference:.3g}.</p>'
        if comparison.start_difference > 1e-3
        else ""
    )
    return (
        f"<section><h2>Does <em>{escape(world)}</em> judge as the simulator does?</h2>{warning}"
        f'<p class="aside">{escape(few_policies(result.policies))}</p>'
        f'<div class="split"><figure>{chart}</figure><div class="scroll"><table class="agreement">'
        f"<tbody>{''.join(rows)}</tbody></table></div></div>"
        f"{_horizons(comparison)}{_trusted(comparison)}"
        f'<h3>Verdicts of the success head</h3><div class="confusions">'
        f"{_confusion(comparison.verdicts, 'Closed loop', 'The policy acts on either side, from the same start.')}"
        f"{replay}</div></section>"
    )


def _horizons(comparison: Comparison) -> str:
    return (
        "<h3>Agreement by horizon</h3>"
        '<p class="aside">Only success within so many steps counts, on either side.</p>'
        f"{_figures(*horizon_rows(comparison))}"
    )


def _trusted(comparison: Comparison) -> str:
    if comparison.trusted is None:
        return ""
    return (
        f'<h3>Agreement with trust</h3><p class="aside">{escape(trusted_text(comparison.trusted))}.</p>'
        f"{_figures(*trusted_rows(comparison, comparison.trusted))}"
    )


def _figures(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    # A first column without a name holds names itself.
    first = "number" if header[0] else ""
    classes = [first, *["number"] * (len(header) - 1)]

    def cells(tag: str, texts: Sequence[str]) -> str:
        pairs = zip(classes, texts, strict=True)
        return "".join(f'<{tag} class="{kind}">{escape(text)}</{tag}>' for kind, text in pairs)

    head = cells("th", header)
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table class="rates"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _confusion(table: Confusion, title: str, meaning: str) -> str:
    balanced = "" if table.balanced_accuracy is None else f", balanced accuracy {100 * table.balanced_accuracy:.0f}%"
    cells = (
        ("success", table.true_positive, table.false_positive, "good", "bad"),
        ("failure", table.false_negative, table.true_negative, "bad", "good"),
    )
    rows = "".join(
        f'<tr><th scope="row">world: {name}</th><td class="{a}">{left}</td><td class="{b}">{right}</td></tr>'
        for name, left, right, a, b in cells
    )
    return (
        f"<figure><figcaption><b>{title}.</b> {meaning} {100 * (table.accuracy or 0):.0f}% right{balanced}."
        "</figcaption>"
        f'<table class="confusion"><thead><tr><td></td><th>truth: success</th><th>truth: failure</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></figure>"
    )


def _episodes(report: Report, outcomes: Outcomes, cards: int) -> str:
    shown = choose(report, cards)
    total = len(report.policies) * len(report.seeds)
    left_out = (
        "" if len(shown) == total else f" Videos of {len(shown)} of {total} episodes, every differing verdict first."
    )
    rendered = "".join(episode_card(report, outcomes, policy, index, _data) for policy, index in shown)
    return (
        '<section id="episodes"><h2>Episodes</h2><p class="aside">Hover or tap to play both sides in step; drag the '
        f"slider to any moment.{left_out}</p>{filters(report)}"
        '<noscript><p class="warning">The videos need JavaScript, which is part of this page.</p></noscript>'
        f'<div class="cards">{rendered}</div><p id="nothing" hidden>No episode is like that.</p></section>'
    )


def _notes(report: Report) -> str:
    settings = "".join(
        f"<dt>{escape(key)}</dt><dd>{escape(_plain(value))}</dd>" for key, value in report.settings.items()
    )
    versions = " · ".join(f"{escape(name)} {escape(value)}" for name, value in report.versions.items())
    method = (
        "<p>Each episode begins from the start frame of its seed. In the learned world everything after that frame is "
        "imagined: the policy sees imagined images and imagined proprioception, and a success head judges them. The "
        "policy draws its own randomness from the same seed on every side. Horizon and ending rule are the same: an "
        "episode ends at its first success.</p>"
    )
    truth = (
        "<p>Correlations are over policies, not episodes. The Fisher-z interval needs four policies; with few of them "
        "any correlation comes easily, above all where true rates are spread wide, so differences of rates are given "
        "beside it. MMRV is SIMPLER's, with the simulator as the truth; its interval resamples start states, shared by "
        "all policies and both sides. The permutation test is one-sided.</p>"
        if report.truth
        else "<p>No truth was run beside the world: nothing here says how far these rates can be believed.</p>"
    )
    return (
        f'<section class="notes"><h2>Method</h2>{method}{truth}<dl class="settings">{settings}'
        f"<dt>seeds</dt><dd>{', '.join(map(str, report.seeds))}</dd></dl>"
        f'<p class="versions">{escape(report.created)} · {versions}</p></section>'
    )


def _plain(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return "default" if value is None else str(value)


def _count(number: int, word: str) -> str:
    words = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")
    text = words[number] if number < len(words) else str(number)
    plural = word if number == 1 else word[:-1] + "ies" if word.endswith("y") else word + "s"
    return f"{text if word == 'policy' else text.lower()} {plural}"


def _points(value: float | None, sign: str) -> str:
    if value is None:
        return "undefined"
    rounded = round(100 * value)
    return f"{rounded:{sign if rounded else ''}d}<small> points</small>"


def _number(value: float | None, form: str) -> str:
    return "undefined" if value is None else f"{value:{form}}"


def _kind(bias: float | None) -> str:
    if not bias:
        return "neither kind nor harsh"
    return "the world is too kind" if bias > 0 else "the world is too harsh"


def _data(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _resource(name: str) -> str:
    return resources.files("cosmos_sim.evaluation").joinpath("page", name).read_text(encoding="utf-8")
