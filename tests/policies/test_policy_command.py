import json
from pathlib import Path

import pytest

from cosmos_sim.cli import main
from cosmos_sim.policies.load import load_policy


def test_train_policy_on_a_users_own_dataset(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "run"
    words = ["train", "policy", "--data", str(dataset), "--out", str(out), "--demonstrations", "3", "--cameras", "side"]
    words += ["--kind", "regression", "--resolution", "32", "--crop", "28", "--steps", "2", "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["cosmos-sim", *words])
    main(words)
    assert str(out / "export") in capsys.readouterr().out
    policy = load_policy(out / "export")
    assert policy.config.encoder.cameras == ("side",)
    assert policy.config.action_dim == 3
    training = policy.metadata["training"]
    assert training["episodes"] == 3
    assert training["steps"] == 2
    assert training["data"] == "squares"
    assert training["command"].startswith("cosmos-sim train policy --data squares --out run")
    assert str(tmp_path) not in json.dumps(policy.metadata)


def test_mistakes_are_told_in_a_line(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as exit_:
        main(["train", "policy", "--data", str(dataset), "--out", str(tmp_path), "--cameras", "sidé"])
    assert exit_.value.code == 2
    assert "'sidé'" in capsys.readouterr().err
