"""The small Table 13: that its stages are kept, that its tests pair what belongs together, and what it tells."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

SCENES = ("base", "purple_cube", "black_cloth")


def test_rates_pairs_and_tests(load):
    module = load("real2real_table")
    rng = np.random.default_rng(0)
    found = {arm: rng.random((2, 3, 15)) < rate for arm, rate in (("base", 0.2), ("proposed", 0.7))}
    told = module.figures(found, SCENES)
    arm = told["arms"]["proposed"]
    assert arm["scenes"]["black_cloth"]["successes"] == found["proposed"][:, 2].sum()
    assert arm["total"]["trials"] == 90
    assert arm["unseen scenes"]["rate"] == pytest.approx(found["proposed"][:, 1:].mean())
    assert [policy["rate"] for policy in arm["policies"]] == pytest.approx(found["proposed"].mean((1, 2)))
    interval = stats.binomtest(int(found["proposed"].sum()), 90).proportion_ci(method="exact")
    assert (arm["total"]["low"], arm["total"]["high"]) == pytest.approx((interval.low, interval.high))
    test = told["paired"]["proposed over base"]
    only = [(found["proposed"] & ~found["base"]).sum(), (~found["proposed"] & found["base"]).sum()]
    assert [test["only first"], test["only second"]] == only
    assert test["p"] == pytest.approx(stats.binomtest(int(only[0]), int(sum(only)), 0.5).pvalue)
    assert test["difference"] > 0
    text = module.table(told, SCENES)
    assert f"{found['base'].sum()}/90" in text
    assert "| purple cube |" in text
    root = ElementTree.fromstring(module.chart(told, SCENES))
    bars = [rect for rect in root.iter("{http://www.w3.org/2000/svg}rect") if len(rect)]
    assert len(bars) == 2 * 4
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert heights[-1] / heights[-2] == pytest.approx(found["proposed"].mean() / found["base"].mean(), abs=0.02)
    with pytest.raises(ValueError, match="one shape"):
        module.figures({"base": found["base"][:, :2]}, SCENES)
    alone = module.figures({arm: verdicts[:, :1] for arm, verdicts in found.items()}, SCENES[:1])
    assert "unseen scenes" not in alone["arms"]["base"]
    assert "paired, unseen scenes" not in alone
    assert module.table(alone, SCENES[:1]).startswith("| | total | 95% |\n|---|--:|--:|\n| base | ")
    root = ElementTree.fromstring(module.chart(alone, SCENES[:1]))
    assert len([rect for rect in root.iter("{http://www.w3.org/2000/svg}rect") if len(rect)]) == 2
    with pytest.raises(ValueError, match="a scene is needed"):
        module.figures({"base": found["base"][:, :0]}, ())


def test_two_arms_from_demonstrations_to_table(
    load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    module = load("real2real")
    files = {name: tmp_path / f"found.{end}" for name, end in (("json", "json"), ("picture", "svg"), ("film", "webp"))}
    words = ["--out", str(tmp_path / "out"), "--arms", "base", "baseline", "--scenes", "base", "black_cloth"]
    words += ["--demonstrations", "2", "--seeds", "1", "--trials", "2", "--steps", "2", "--device", "cpu"]
    words += [word for name, path in files.items() for word in (f"--{name}", str(path))]
    monkeypatch.setattr("sys.argv", ["real2real.py", *words])
    monkeypatch.setattr(module, "HORIZON", 12)
    module.main()
    found = json.loads(files["json"].read_text())
    assert found["arms"]["baseline"]["total"]["trials"] == 4
    assert found["starts"] == [20_000, 20_001]
    assert found["training"]["baseline"]["image_augmentation"] == "standard"
    assert found["world"] is None
    assert len(found["steps to success"]["base-0 black_cloth"]) == 2
    assert "| base |" in capsys.readouterr().out
    assert Image.open(files["film"]).n_frames == 13  # the last one stays for longer
    videos = {path.name for path in (tmp_path / "out" / "videos").iterdir()}
    assert "black_cloth-baseline-failure.mp4" in videos
    kept = sorted((tmp_path / "out" / "trials").rglob("*.npz"))
    assert len(kept) == 4
    made = {path: path.stat().st_mtime_ns for path in kept}
    module.main()
    assert {path: path.stat().st_mtime_ns for path in kept} == made
