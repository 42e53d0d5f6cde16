"""LoRA and DoRA: fresh ones change nothing, only they learn, and PEFT computes the same with what is exported."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from tiny_clips import bridge_folder, video_folder
from tiny_dit import inputs, output
from tiny_predict import DIT, lively
from tiny_recipe import ACTION, VIDEO, make, train_some

from cosmos_sim.world_model.checkpoints.adapter import (
    NVIDIA_ALPHA,
    merge,
    open_adapter,
    save_diffusers_lora,
    save_nvidia_lora,
)
from cosmos_sim.world_model.checkpoints.load import load_dit
from cosmos_sim.world_model.checkpoints.network import Network, save_ours
from cosmos_sim.world_model.checkpoints.source import open_source
from cosmos_sim.world_model.checkpoints.stored import held
from cosmos_sim.world_model.dit import DiT
from cosmos_sim.world_model.recipes.predict_adapter import AdapterConfig, add_adapter

SMALL = {"rank": 3, "alpha": 6.0}
KINDS = ("lora", "dora")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return video_folder(tmp_path_factory.mktemp("videos") / "data", pictures=0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "dit"
    save_ours(Network(DIT, {n: held(t) for n, t in lively(DiT(DIT)).state_dict().items()}), folder)
    return folder


def adapted(videos: Path, base: Path, kind: str):
    stage = replace(VIDEO, images=0.0, batch_size=2)
    return make(videos, videos.parent / "cache", stage, init=base, adapter=AdapterConfig(kind, **SMALL))


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_alone_learns_and_peft_agrees(kind, videos, base, tmp_path):
    recipe = adapted(videos, base, kind)
    given, plain = inputs(DIT), load_dit(base, dtype=None)
    torch.testing.assert_close(output(recipe.model, **given), output(plain, **given), rtol=1e-4, atol=1e-5)
    before = {name: tensor.clone() for name, tensor in recipe.model.state_dict().items()}
    train_some(recipe, 2)
    for name, tensor in recipe.model.state_dict().items():
        assert torch.equal(tensor, before[name]) != (".lora_" in name), name
    trained = output(recipe.model, **given)
    assert not torch.allclose(trained, output(plain, **given), atol=1e-3)

    with torch.no_grad():
        recipe.export(tmp_path)
    torch.testing.assert_close(output(load_dit(tmp_path, dtype=None), **given), trained, rtol=1e-4, atol=1e-5)
    adapter = open_adapter(open_source(tmp_path / "adapter"))
    assert (adapter.rank, adapter.alpha, adapter.dora) == (3, 6.0, kind == "dora")
    assert len(adapter.modules) == 2 * (4 + 4 + 2)
    applied = PeftModel.from_pretrained(load_dit(base, dtype=None), tmp_path / "adapter")
    torch.testing.assert_close(output(applied, **given), trained, rtol=1e-4, atol=1e-5)


def test_dora_is_merged_as_peft_does_and_kept_from_formats_without_it(videos, base, tmp_path):
    recipe = adapted(videos, base, "dora")
    train_some(recipe, 2)
    with torch.no_grad():
        recipe.export(tmp_path / "export")
    adapter = open_adapter(open_source(tmp_path / "export" / "adapter"))
    merged = merge(open_source(base).weights, adapter)
    peft = PeftModel.from_pretrained(load_dit(base, dtype=None), tmp_path / "export" / "adapter").merge_and_unload()
    for name, value in peft.state_dict().items():
        torch.testing.assert_close(merged[name].read(), value, rtol=1e-5, atol=1e-6)
    for save, to in ((save_diffusers_lora, tmp_path / "folder"), (save_nvidia_lora, tmp_path / "file.pt")):
        with pytest.raises(ValueError, match="no place for DoRA"):
            save(adapter, to)
        assert not to.exists()


def test_new_action_embedders_learn_beside_the_adapter(base, tmp_path):
    """They are in the exported world; an adapter alone would lack them, so there is none."""
    folder = bridge_folder(tmp_path / "data")
    recipe = make(folder, tmp_path / "cache", ACTION, init=base, adapter=AdapterConfig(**SMALL), text=False)
    trained = {name for name, parameter in recipe.model.named_parameters() if parameter.requires_grad}
    assert all(".lora_" in name or name.startswith("action_embedder") for name in trained)
    assert any(name.startswith("action_embedder") for name in trained)
    train_some(recipe, 2)
    (tmp_path / "export").mkdir()
    with torch.no_grad():
        recipe.export(tmp_path / "export")
    assert not (tmp_path / "export" / "adapter").exists()
    network = load_dit(tmp_path / "export" / "dit", dtype=None)
    assert network.get_submodule("action_embedder_B_D.fc2").get_parameter("weight").ne(0).any()


def test_the_defaults_are_nvidia_s():
    config = AdapterConfig()
    assert (config.rank, config.alpha) == (32, NVIDIA_ALPHA)
    model = DiT(DIT)
    add_adapter(model, config)
    ends = {name.partition(".lora_A")[0].partition(".")[2][2:] for name in model.state_dict() if ".lora_A" in name}
    attention = {f"{a}_attn.{p}_proj" for a in ("self", "cross") for p in ("q", "k", "v", "output")}
    assert ends == attention | {"mlp.layer1", "mlp.layer2"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank must be at least 1"),
        ({"alpha": 0.0}, "alpha"),
        ({"targets": ()}, "at least one"),
        ({"kind": "qlora"}, "qlora"),
    ],
)
def test_impossible_adapters(options, message):
    with pytest.raises(ValueError, match=message):
        AdapterConfig(**options)


def test_an_unknown_target_is_named():
    with pytest.raises(ValueError, match="'qproj'"):
        add_adapter(DiT(DIT), AdapterConfig(targets=("q_proj", "qproj")))
