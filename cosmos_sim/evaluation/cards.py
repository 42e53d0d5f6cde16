"""The episodes of a page: which are shown, how each looks, and the buttons that choose among them."""

from collections.abc import Callable
from html import escape

from cosmos_sim.evaluation.chart import spark
from cosmos_sim.evaluation.report import Outcomes, Report

VERDICTS = {
    "same": "same verdict",
    "kind": "world too kind",
    "harsh": "world too harsh",
    "solved": "solved",
    "failed": "failed",
}


def verdicts(report: Report, policy: int, episode: int) -> list[str]:
    """Keys of :data:`VERDICTS` that hold of an episode in any of the worlds, best first."""
    sides = report.policies[policy].sides
    found = set()
    for world in report.worlds:
        imagined = sides[world].episodes[episode].success
        if report.truth is None:
            found.add("solved" if imagined else "failed")
        else:
            true = sides[report.truth].episodes[episode].success
            found.add("same" if imagined == true else "kind" if imagined else "harsh")
    return [key for key in VERDICTS if key in found]


def choose(report: Report, most: int) -> list[tuple[int, int]]:
    """At most ``most`` pairs (policy, episode), in order: differing verdicts are kept first, then the first starts."""
    every = [(policy, episode) for policy in range(len(report.policies)) for episode in range(len(report.seeds))]

    def rank(pair: tuple[int, int]) -> tuple[bool, int]:
        return set(verdicts(report, *pair)).isdisjoint({"kind", "harsh"}), pair[1]

    return sorted(sorted(every, key=rank)[:most])


def filters(report: Report) -> str:
    """Buttons: one choice of policy, one of verdict, and play-all."""
    held = {
        key
        for policy in range(len(report.policies))
        for episode in range(len(report.seeds))
        for key in verdicts(report, policy, episode)
    }
    policies = [("", "all policies"), *((str(i), policy.name) for i, policy in enumerate(report.policies))]
    outcomes = [("", "all verdicts"), *((key, name) for key, name in VERDICTS.items() if key in held)]
    return (
        f'<div class="filters">{_group("policy", policies)}{_group("verdict", outcomes)}'
        '<div class="group"><button type="button" id="play" aria-pressed="false">▶ play all</button></div></div>'
    )


def episode_card(report: Report, outcomes: Outcomes, policy: int, episode: int, encode: Callable[[bytes], str]) -> str:
    """One episode on all sides, its videos inside it; ``encode`` is base64."""
    result = report.policies[policy]
    sides = [*report.worlds, *([report.truth] if report.truth else [])]
    longest = max(result.sides[side].episodes[episode].steps for side in sides)
    figures = []
    for side in sides:
        told, kept = result.sides[side].episodes[episode], outcomes[side][result.name][episode]
        kind = "truth" if side == report.truth else "world"
        mark = ("good", "✓", f"solved after {told.steps} steps") if told.success else ("bad", "✗", "not solved")
        line = "" if told.success_probability is None else spark(told.success_probability, longest)
        doubt = "" if told.trust_lost is None else f' <span class="bad">trust lost after {told.trust_lost} steps</span>'
        figures.append(
            f'<figure><video muted playsinline preload="none" poster="data:image/jpeg;base64,{encode(kept.poster)}" '
            f'data-mp4="{encode(kept.video)}"></video><figcaption><span class="side {kind}">{escape(side)}</span> '
            f'<span class="{mark[0]}">{mark[1]} {mark[2]}</span>{doubt}</figcaption>'
            f'<div class="spark-box">{line}</div></figure>'
        )
    keys = verdicts(report, policy, episode)
    chips = "".join(f'<span class="chip {key}">{VERDICTS[key]}</span>' for key in keys)
    replays = "".join(
        f'<p class="replay">These actions in the simulator: {"solved" if pairing.replayed[episode] else "not solved"}'
        f"{f' ({escape(comparison.world)})' if len(report.comparisons) > 1 else ''}.</p>"
        for comparison in report.comparisons
        if (pairing := comparison.pairings[policy]).replayed is not None
    )
    return (
        f'<article class="card" data-policy="{policy}" data-verdict="{" ".join(keys)}" '
        f'data-seconds="{longest / report.fps:.3f}" data-sides="{len(sides)}"><header><b>{escape(result.name)}</b> '
        f'<span class="seed">start {report.seeds[episode]}</span>{chips}</header>'
        f'<div class="videos">{"".join(figures)}</div>'
        '<input type="range" min="0" max="1000" value="0" aria-label="moment of the episode">'
        f"{replays}</article>"
    )


def _group(name: str, choices: list[tuple[str, str]]) -> str:
    buttons = "".join(
        f'<button type="button" data-{name}="{escape(key)}" aria-pressed="{"true" if key == "" else "false"}">'
        f"{escape(label)}</button>"
        for key, label in choices
    )
    return f'<div class="group" role="group" aria-label="{name}">{buttons}</div>'
