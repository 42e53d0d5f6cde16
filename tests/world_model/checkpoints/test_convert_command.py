"""``cosmos-sim convert`` as a user types it."""

from pathlib import Path

import pytest
import torch
from tiny_networks import BASE, CONFIGS, network, nvidia_state, same, stored

from cosmos_sim.cli import main


def test_the_command_converts_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model = network(CONFIGS["action"])
    torch.save(nvidia_state(model), tmp_path / "a.pt")
    ours = str(tmp_path / "ours")
    main(
        [
            "convert",
            str(tmp_path / "a.pt"),
            ours,
            "--to",
            "ours",
            "--rope-ratio",
            "1",
            "2",
            "2",
            "--max-shard-gb",
            "1e-4",
        ]
    )
    count = len(model.state_dict())
    assert f"network: {count} tensors, 0.000" in capsys.readouterr().out
    config, weights = stored(tmp_path / "ours")
    assert config == CONFIGS["action"]
    same(weights, model.state_dict())
    assert len(list((tmp_path / "ours").glob("model-*.safetensors"))) > 3
    main(["convert", ours, str(tmp_path / "p"), "--to", "diffusers", "--keep-actions", "--dtype", "bf16"])
    assert stored(tmp_path / "p")[1]["x_embedder.proj.1.weight"].dtype == torch.bfloat16


def test_mistakes_are_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    torch.save({"net.x": torch.ones(2)}, tmp_path / "a.pt")

    def error(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            main(["convert", *arguments])
        assert stopped.value.code == 2
        return capsys.readouterr().err

    file, target = str(tmp_path / "a.pt"), str(tmp_path / "out")
    assert "missing (first: ['x_embedder.proj.1.weight']), 1 unexpected (first: ['x'])" in error(
        file, target, "--to", "ours"
    )
    assert "hf download nvidia/Cosmos-Predict2.5-14B" in error("nvidia/Cosmos-Predict2.5-14B", target, "--to", "ours")
    torch.save(nvidia_state(network(BASE)), tmp_path / "a.pt")
    options = ("--action-layout", "chunk")
    assert "action_layout='chunk' would be ignored" in error(file, target, "--to", "ours", *options)
    assert not (tmp_path / "out").exists()
