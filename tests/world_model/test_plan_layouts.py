import json
from dataclasses import replace
from pathlib import Path

import pytest

from cosmos_sim.cli import main
from cosmos_sim.training.layout import ParallelConfig
from cosmos_sim.world_model.dit import preset
from cosmos_sim.world_model.plan import PUBLISHED, Asked, advise, layouts, make_plan
from cosmos_sim.world_model.plan_workload import Workload

SMALL, LARGE = Workload(preset("predict2.5-2b")), Workload(preset("predict2.5-14b"))


def planned(workload: Workload, gpus: int, device: str = "h100", **asked: object):
    return advise(workload, Asked(**asked), gpus=gpus, device=device, compiled=True)


def test_published_trainings_fit_where_they_ran_and_no_faster_than_planned():
    """And in half as large a context group they would not have fitted."""
    for one in PUBLISHED:
        plan = one.plan()
        assert plan.fits
        assert one.mfu < plan.mfu < 1.4 * one.mfu
        parallel = replace(one.parallel, context=one.parallel.context // 2, shard=2 * (one.parallel.shard or 1))
        assert not make_plan(plan.workload, parallel, gpus=one.gpus, device=one.device).fits


def test_what_is_left_open_is_chosen_to_fit():
    advice = planned(SMALL, 8)
    assert advice.plan.fits
    assert advice.instead is None
    parallel = advice.plan.parallel
    assert parallel.replicate * (parallel.shard or 0) * parallel.context == 8
    every = [make_plan(SMALL, p, gpus=8, device="h100") for p in layouts(SMALL, 8, compiled=True)]
    fastest = max(plan.tokens_per_second for plan in every if plan.fits)
    assert advice.plan.tokens_per_second >= 0.99 * fastest


def test_the_nearest_that_fits_changes_as_little_as_possible():
    advice = planned(SMALL, 8, context=1, shard=8, checkpointing="selective")
    assert not advice.plan.fits
    assert advice.plan.parallel == ParallelConfig(1, 8, 1, "selective", compile=True)
    assert advice.instead is not None
    assert advice.instead.fits
    asked = Asked(context=1, shard=8, checkpointing="selective")
    assert list(asked.changes(advice.instead.parallel)) == ["checkpointing"]
    others = planned(SMALL, 8, context=1, checkpointing="selective").instead
    assert others is not None
    assert len(Asked(context=1, checkpointing="selective").changes(others.parallel)) == 1


def test_where_nothing_fits_larger_gpus_are_named():
    advice = planned(LARGE, 1)
    assert not advice.plan.fits
    assert advice.instead is None
    assert advice.devices == ()
    assert planned(LARGE, 2).devices == planned(LARGE, 2, device="a100").devices
    assert "h100" not in planned(LARGE, 2).devices
    assert "b200" in planned(LARGE, 2).devices


@pytest.mark.parametrize(
    ("gpus", "device", "asked", "message"),
    [
        (8, "h100", {"context": 3}, "context=3 does not divide the 40 heads; context=2 does"),
        (12, "h100", {"context": 8}, "context=8 need a multiple of 8 GPUs, not gpus=12"),
        (64, "h100", {"replicate": 2, "shard": 2, "context": 8}, "replicate=2 x shard=2 x context=8 need 32 GPUs"),
        (64, "h100", {"shard": 64}, "shard=64 is more than the 36 blocks"),
        (64, "h100", {"replicate": 1, "context": 1}, "no layout of 64 GPUs has replicate=1, context=1"),
        (8, "h1000", {}, "unknown GPU 'h1000': did you mean 'h100'"),
        (0, "h100", {}, "gpus must be at least 1, not 0"),
        (8, "h100", {"checkpointing": "selectiv"}, "unknown checkpointing 'selectiv': did you mean 'selective'"),
    ],
)
def test_layouts_that_cannot_be_are_refused(gpus: int, device: str, asked: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        planned(LARGE, gpus, device, **asked)


def test_images_share_no_tokens():
    with pytest.raises(ValueError, match="context=2 would be ignored"):
        planned(replace(SMALL, frames=1), 8, context=2)
    plan = planned(replace(SMALL, frames=1, batch=4), 8).plan
    assert plan.parallel.context == 1
    assert plan.samples == 32


def test_days_of_a_budget():
    plan = make_plan(LARGE, ParallelConfig(context=8, shard=4, replicate=2), gpus=64, device="h200")
    assert plan.samples == 8
    assert plan.days(1e12) == pytest.approx(1e12 / (8 * 84480 / plan.speed.step) / 86400)
    with pytest.raises(ValueError, match="tokens must be at least 1"):
        plan.days(0)


def test_the_command_prints_a_plan_and_keeps_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["plan", "--preset", "predict2.5-2b", "--gpus", "8", "--context", "1", "--checkpointing", "selective"]
    main([*words, "--tokens", "1e12", "--json", str(tmp_path / "plan.json")])
    text = capsys.readouterr().out
    found = json.loads((tmp_path / "plan.json").read_text())
    assert "does not fit" in text
    assert "The nearest that fits: --replicate" in text
    assert "36.49%" in text
    assert not found["asked"]["fits"]
    assert found["instead"]["fits"]
    assert found["asked"]["parallel"]["checkpointing"] == "selective"
    parts = found["asked"]["memory_bytes"]["parts"]
    assert (
        sum(part[found["asked"]["memory_bytes"]["fullest"]] for part in parts)
        == (found["asked"]["memory_bytes"]["peak"])
    )
    main(["plan", "--gpus", "1", "--gpu", "h200"])
    assert "One GPU alone sends nothing." in capsys.readouterr().out
    main(["plan", "--preset", "predict2.5-14b", "--gpu", "b200"])
    assert "No layout fits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "predict2.5-14"], "did you mean 'predict2.5-14b'"),
        (["--resolution", "720"], "did you mean '720p'"),
        (["--tokens", "0"], "tokens must be at least 1"),
    ],
)
def test_mistakes_are_told_in_a_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["plan", *words])
    assert message in capsys.readouterr().err
