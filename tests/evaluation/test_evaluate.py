"""A whole study between two closed-form worlds, one of them standing for the truth."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from hand_world import HandWorld, Riser

from cosmos_sim.envs.held import HeldWorlds
from cosmos_sim.evaluation.cards import choose
from cosmos_sim.evaluation.evaluate import Study, run_study
from cosmos_sim.evaluation.outcome import OutcomeStore
from cosmos_sim.evaluation.report import quarters
from cosmos_sim.evaluation.run import Arena, Contender, Side
from cosmos_sim.evaluation.table import text_report

WILLS = {"eager": 0.9, "steady": 0.5, "idle": 0.05}


def side(name, *, gain, width=4, noise=0.01):
    world = HandWorld(gain=gain, noise=noise)
    return Side(
        name,
        {"gain": gain},
        world.spec.fps,
        width,
        lambda count: HeldWorlds(count, world, horizon=10),
        lambda seeds: {"twin_seed": list(seeds)},
    )


def contenders(loads=None):
    def load(name):
        if loads is not None:
            loads.append(name)
        return Riser(WILLS[name])

    return [Contender(name, lambda name=name: load(name), {"will": will}) for name, will in WILLS.items()]


def study(**changes):
    values = {
        "contenders": contenders(),
        "worlds": [side("dream", gain=0.11)],
        "truth": side("real", gain=0.09),
        "seeds": [40, 41, 42, 43, 44, 45],
        "task": "raise the hand",
        "horizon": 10,
    }
    return Study(**(values | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    replay = lambda outcomes: [outcome.state[-1, 2] > 0.55 for outcome in outcomes]  # noqa: E731
    return out, run_study(study(replay=replay), out, settings={"policies": list(WILLS), "note": "a <b> & c"})


def test_the_report_counts_what_happened(finished):
    _, report = finished
    rates = {policy.name: {s: r.rate.rate for s, r in policy.sides.items()} for policy in report.policies}
    assert rates["eager"]["dream"] >= rates["steady"]["dream"] > rates["idle"]["dream"]
    assert rates["eager"]["real"] > rates["idle"]["real"] == 0
    (comparison,) = report.comparisons
    assert comparison.agreement.bias.value == pytest.approx(np.mean([r["dream"] - r["real"] for r in rates.values()]))
    assert comparison.agreement.policies == 3
    assert comparison.start_difference < 1e-6
    assert comparison.verdicts.total == comparison.replay.total == 18
    for pairing, policy in zip(comparison.pairings, report.policies, strict=True):
        pairs = zip(policy.sides["dream"].episodes, policy.sides["real"].episodes, strict=True)
        kind = sum(a.success and not b.success for a, b in pairs)
        assert pairing.verdicts.false_positive == kind
        for episode in policy.sides["dream"].episodes:
            assert len(episode.success_probability) == episode.steps <= 10
            assert episode.success == (episode.success_probability[-1] > 0.5)


def test_agreement_by_horizon_counts_successes_so_far(finished):
    _, report = finished
    (comparison,) = report.comparisons
    assert [at.steps for at in comparison.horizons] == quarters(10) == [3, 5, 8, 10]
    assert comparison.horizons[-1].agreement == comparison.agreement
    for at in comparison.horizons:
        rates = {}
        for side in ("dream", "real"):
            episodes = [policy.sides[side].episodes for policy in report.policies]
            rates[side] = np.array([np.mean([e.success and e.steps <= at.steps for e in some]) for some in episodes])
        assert (at.simulated_rate, at.true_rate) == pytest.approx((rates["dream"].mean(), rates["real"].mean()))
        assert at.agreement.bias.value == pytest.approx(at.simulated_rate - at.true_rate)
    true_rates = [at.true_rate for at in comparison.horizons]
    assert true_rates == sorted(true_rates)
    assert true_rates[0] < true_rates[-1]


def test_the_json_is_strict_and_holds_every_outcome(finished):
    out, report = finished
    text = (out / "report.json").read_text()
    assert "NaN" not in text
    data = json.loads(text)
    assert data["format"] == "cosmos-sim evaluation 1"
    assert data["seeds"] == [40, 41, 42, 43, 44, 45]
    assert [p["name"] for p in data["policies"]] == list(WILLS)
    outcomes = [e["success"] for e in data["policies"][1]["sides"]["real"]["episodes"]]
    assert sum(outcomes) == report.policies[1].sides["real"].rate.successes
    assert data["comparisons"][0]["agreement"]["pearson"]["low"] is None
    assert data["versions"]["cosmos-sim"]


def test_a_finished_study_loads_no_policy_and_makes_no_environment(finished, tmp_path):
    out, report = finished
    shutil.copytree(out / "episodes", tmp_path / "episodes")

    def make(count):
        raise AssertionError("nothing is left to run")

    idle = [Side(s.name, s.identity, s.fps, s.width, make) for s in (side("dream", gain=0.11), side("real", gain=0.09))]
    loads = []
    again = run_study(study(contenders=contenders(loads), worlds=idle[:1], truth=idle[1]), tmp_path)
    assert loads == []
    assert again.policies == report.policies


def test_an_interrupted_study_goes_on_where_it_stopped(finished, tmp_path):
    _, report = finished
    batches = []

    def stop(side_name, policy, progress):
        batches.append((side_name, policy))
        if policy == "steady" and progress.finished >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(study(), tmp_path, watch=stop)
    kept = len(list((tmp_path / "episodes").glob("*/*.npz")))
    assert kept == 6 + 4
    assert not (tmp_path / "report.json").exists()
    asked = {}

    def watch(side_name, policy, progress):
        asked[side_name, policy] = progress.episodes

    resumed = run_study(study(), tmp_path, watch=watch)
    assert asked["dream", "eager"] == 0
    assert asked["dream", "steady"] == 2
    assert asked["real", "idle"] == 6
    assert resumed.policies == report.policies


def test_actions_out_of_bounds_are_carried_out_at_the_bounds(tmp_path):
    def run(reach, name):
        class Strong(Riser):
            def act(self, observation, info):
                return reach * np.sign(super().act(observation, info))

        with Arena(side("dream", gain=0.11), OutcomeStore(tmp_path / name)) as arena:
            return arena.run(Contender(name, lambda: Strong(0.5), {}), [40, 41])

    far, near = run(np.float32(1.7), "far"), run(np.float32(1.0), "near")
    for one, other in zip(far, near, strict=True):
        np.testing.assert_array_equal(one.action, other.action)
        np.testing.assert_array_equal(one.state, other.state)
    with pytest.raises(ValueError, match="nan"):
        run(np.float32(np.nan), "broken")


def test_a_damaged_outcome_is_made_anew(tmp_path):
    store = OutcomeStore(tmp_path)
    contender, place = contenders()[0], side("dream", gain=0.11)
    with Arena(place, store) as arena:
        first = arena.run(contender, [40, 41])
    damaged = store.path({"policy": dict(contender.identity), "side": dict(place.identity)}, 41)
    damaged.write_bytes(damaged.read_bytes()[:200])
    with Arena(place, store) as arena:
        second = arena.run(contender, [40, 41])
    np.testing.assert_array_equal(first[1].state, second[1].state)
    assert first[1].video == second[1].video
    assert second[1].probability is not None


class Page(HTMLParser):
    VOID = ("meta", "link", "input")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.outside = [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.seen.append((tag, values))
        self.outside += [v for k, v in values.items() if k in ("src", "href", "poster") and not v.startswith("data:")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(finished):
    out, report = finished
    text = (out / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.outside == []
    assert not re.search(r"url\(|@import|https?://", text)
    videos = [values for tag, values in page.seen if tag == "video"]
    assert len(videos) == 2 * 18
    cards = [values for tag, values in page.seen if tag == "article"]
    kinds = sum("kind" in card["data-verdict"].split() for card in cards)
    assert kinds == report.comparisons[0].verdicts.false_positive
    assert "a &lt;b&gt; &amp; c" in text


def test_few_cards_keep_the_differing_verdicts(finished):
    _, report = finished
    differing = report.comparisons[0].verdicts.false_positive + report.comparisons[0].verdicts.false_negative
    assert differing > 0
    chosen = choose(report, differing)
    for policy, episode in chosen:
        sides = report.policies[policy].sides
        assert sides["dream"].episodes[episode].success != sides["real"].episodes[episode].success
    assert len(choose(report, 500)) == 18


def test_the_table_says_what_is_known(finished):
    _, report = finished
    text = text_report(report)
    rate = report.policies[0].sides["dream"].rate
    assert re.search(rf"eager +{rate.successes}/6 +{100 * rate.rate:.0f}%", text)
    for words in ("k = 3", "Fisher-z interval needs at least 4", "MMRV", "same actions", "by horizon", "steps/s"):
        assert words in text


def test_without_truth_the_report_claims_nothing(tmp_path):
    report = run_study(study(truth=None, seeds=[41, 42]), tmp_path)
    assert report.comparisons == []
    assert "Agreement" not in text_report(report)
    assert "No truth was run" in (tmp_path / "report.html").read_text()


def test_two_worlds_are_judged_side_by_side(tmp_path):
    worlds = [side("dream", gain=0.11), side("doze", gain=0.05)]
    report = run_study(study(worlds=worlds, seeds=[40, 43]), tmp_path)
    assert [comparison.world for comparison in report.comparisons] == ["dream", "doze"]
    assert "same verdict (doze)" in text_report(report)


def test_a_study_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="no policies"):
        study(contenders=[])
    with pytest.raises(ValueError, match="'eager' twice"):
        study(contenders=contenders()[:1] * 2)
    with pytest.raises(ValueError, match="needs a truth"):
        study(truth=None, replay=lambda outcomes: [])
