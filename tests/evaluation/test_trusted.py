"""An evaluation in a world whose frames are judged: what trust changes is counted again by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hand_world import HandWorld, Riser

from cosmos_sim.cli import main
from cosmos_sim.envs.held import HeldWorlds
from cosmos_sim.envs.trust import Trust, TrustRule
from cosmos_sim.envs.trust_calibration import TrustCalibration
from cosmos_sim.evaluation.evaluate import Study, run_study
from cosmos_sim.evaluation.outcome import fingerprint
from cosmos_sim.evaluation.run import Contender, Side
from cosmos_sim.evaluation.sides import load_world, trust_folder, world_side
from cosmos_sim.evaluation.table import text_report
from cosmos_sim.world_model.inverse_dynamics import InverseDynamics, InverseDynamicsConfig, InverseDynamicsNet

RULE = TrustRule(0.3, 2)
WILLS = {"eager": 0.8, "idle": 0.1, "wild": 0.6}


def inverse_dynamics(folder: Path, cameras: tuple[str, ...], actions: int) -> Path:
    """Untrained ones, which read about the same actions off everything: how far they are off depends on those taken."""
    torch.manual_seed(0)
    config = InverseDynamicsConfig(cameras, actions, 2, resolution=16, width=4, dim=16, blocks=1, heads=2)
    folder.mkdir(parents=True)
    InverseDynamics(InverseDynamicsNet(config), figures={}).write(folder)
    TrustCalibration(6.0, -20.0, samples=2).save(folder)
    return folder


def side(name: str, gain: float, trust: Trust | None = None) -> Side:
    world = HandWorld(gain=gain, noise=0.01)
    return Side(
        name,
        {"gain": gain, "judged": trust is not None},
        world.spec.fps,
        4,
        lambda count: HeldWorlds(count, world, horizon=10, trust=trust),
        lambda seeds: {"twin_seed": list(seeds)},
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("study")
    trust = Trust.from_pretrained(inverse_dynamics(out / "idm", ("front", "above"), 4))
    study = Study(
        contenders=[Contender(name, lambda will=will: Riser(will), {"will": will}) for name, will in WILLS.items()],
        worlds=[side("dream", 0.12, trust), side("plain", 0.12)],
        truth=side("real", 0.09),
        seeds=[40, 41, 42, 43, 44, 45],
        task="raise the hand",
        horizon=10,
        replay=lambda outcomes: [outcome.state[-1, 2] > 0.5 for outcome in outcomes],
        trust=RULE,
    )
    return study, out, run_study(study, out)


def lost(trust: list[float]) -> bool:
    return "11" in "".join("1" if value < 0.3 else "0" for value in trust)


def test_successes_count_where_trust_held(finished):
    _, _, report = finished
    comparison = report.comparisons[0]
    withdrawn = doubted = same = 0
    bias = []
    for policy in report.policies:
        imagined, true = policy.sides["dream"], policy.sides["real"]
        kept = 0
        for one, other in zip(imagined.episodes, true.episodes, strict=True):
            assert len(one.trust) == one.steps
            assert np.isnan(one.trust[0])
            assert (one.trust_lost is not None) == lost(one.trust)
            assert not one.trust_lost or lost(one.trust[: one.trust_lost]) > lost(one.trust[: one.trust_lost - 1])
            counts = one.success and not lost(one.trust)
            doubted += lost(one.trust)
            withdrawn += one.success and not counts
            same += counts == other.success
            kept += counts
        assert (imagined.trusted.successes, imagined.trusted.trials) == (kept, 6)
        assert true.trusted is None
        assert true.episodes[0].trust is None
        bias.append(kept / 6 - true.rate.rate)
    trusted = comparison.trusted
    assert 0 < withdrawn < sum(policy.sides["dream"].rate.successes for policy in report.policies)
    assert (trusted.rule, trusted.episodes, trusted.lost, trusted.withdrawn) == (RULE, 18, doubted, withdrawn)
    assert trusted.verdicts.right == same
    assert trusted.verdicts.total == trusted.replay.total == 18
    assert trusted.agreement.bias.value == pytest.approx(np.mean(bias))


def test_episodes_stay_as_they_are_without_trust(finished):
    _, _, report = finished
    judged, plain = report.comparisons
    assert plain.trusted is None
    assert judged.verdicts == plain.verdicts
    assert judged.agreement == plain.agreement
    for policy in report.policies:
        steps = [[(e.success, e.steps) for e in policy.sides[name].episodes] for name in ("dream", "plain")]
        assert steps[0] == steps[1]


def test_trust_is_told(finished):
    _, out, report = finished
    text = text_report(report)
    assert "With trust: a success counts only if trust was never below 0.3 for 2 frames in a row" in text
    trusted = report.comparisons[0].trusted
    assert f"lost in {trusted.lost} of 18 imagined episodes, {trusted.withdrawn} of them success" in text
    assert text.count("without trust") == 1
    data = json.loads((out / "report.json").read_text())
    assert data["comparisons"][0]["trusted"]["rule"] == {"minimum": 0.3, "frames": 2}
    assert data["comparisons"][1]["trusted"] is None
    assert data["policies"][0]["sides"]["dream"]["episodes"][0]["trust"][0] is None
    page = (out / "report.html").read_text()
    assert page.count("Agreement with trust") == 1
    assert page.count("trust lost after") == trusted.lost


def test_a_finished_study_remembers_trust(finished):
    study, out, report = finished
    again = run_study(study, out)
    assert again.comparisons[0].trusted == report.comparisons[0].trusted


def test_a_world_is_judged_by_its_own_or_by_what_is_given(tmp_path: Path):
    world, content = load_world("lift", device="cpu")
    world.inverse_dynamics = None
    assert trust_folder("auto", world) is trust_folder("none", world) is None
    own = inverse_dynamics(tmp_path / "own", tuple(world.spec.cameras), world.spec.action_dim)
    world.inverse_dynamics = own
    assert trust_folder("auto", world) == trust_folder(str(own), world) == own
    assert trust_folder("none", world) is None
    plain = world_side("lift", world, content, horizon=4, width=2)
    judged = world_side("lift", world, content, horizon=4, width=2, trust=own)
    assert judged.identity == {**plain.identity, "trust": fingerprint(own)}
    (own / "trust.json").unlink()
    assert trust_folder("auto", world) is None
    with pytest.raises(ValueError, match=r"holds no trust.json"):
        world_side("lift", world, content, horizon=4, width=2, trust=own)
    other = inverse_dynamics(tmp_path / "other", ("agentview",), 3)
    with pytest.raises(ValueError, match="trust reads actions of 3 values; the world takes 7"):
        world_side("lift", world, content, horizon=4, width=2, trust=other)
    with pytest.raises(ValueError, match="unknown inverse dynamics 'nowhere'"):
        trust_folder("nowhere", world)


def test_an_option_that_would_be_ignored_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "--trust", "none", "--min-trust", ".2", "--out", str(tmp_path)])
    assert "min_trust=0.2 would be ignored" in capsys.readouterr().err
