"""LoRA adapters, made by PEFT, in every naming; merged as PEFT merges them."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import CosmosTransformer3DModel
from peft import LoraConfig, get_peft_model, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from tiny_networks import BASE, network, nvidia_state, same, stored

from cosmos_sim.world_model.checkpoints.adapter import open_adapter
from cosmos_sim.world_model.checkpoints.convert import Options, convert
from cosmos_sim.world_model.checkpoints.load import load_dit
from cosmos_sim.world_model.checkpoints.source import open_source
from cosmos_sim.world_model.dit import DiT

TARGETS = ["q_proj", "k_proj", "v_proj", "output_proj", "mlp.layer1", "mlp.layer2"]
"""What NVIDIA's post-training adapts."""


def adapted(alpha: float = 12, **options: bool):
    """A network with a PEFT adapter of rank 4 whose weights are drawn."""
    model = get_peft_model(network(BASE), LoraConfig(r=4, lora_alpha=alpha, target_modules=TARGETS, **options))
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    return model


def velocity(model: torch.nn.Module) -> torch.Tensor:
    torch.manual_seed(1)
    latent, context, mask = torch.randn(1, 4, 2, 4, 6), torch.randn(1, 5, 36), torch.zeros(1, 1, 2, 4, 6)
    with torch.no_grad():
        return model(latent, torch.full((1, 2), 400.0), mask, context=context)


@pytest.mark.parametrize("rslora", [False, True])
def test_a_peft_adapter_is_merged_as_peft_does(rslora: bool, tmp_path: Path):
    model = adapted(use_rslora=rslora)
    model.save_pretrained(tmp_path / "adapter")
    torch.save(nvidia_state(network(BASE)), tmp_path / "base.pt")
    expected = velocity(model)
    merged = load_dit(tmp_path / "base.pt", dtype=torch.float32, adapter=tmp_path / "adapter")
    torch.testing.assert_close(velocity(merged), expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(velocity(network(BASE)), expected, atol=0.1)

    convert(tmp_path / "base.pt", tmp_path / "merged", to="ours", options=Options(adapter=tmp_path / "adapter"))
    whole = model.merge_and_unload().state_dict()
    for name, tensor in stored(tmp_path / "merged")[1].items():
        torch.testing.assert_close(tensor, whole[name], rtol=1e-5, atol=1e-6)


def test_adapters_keep_every_bit_through_all_namings(tmp_path: Path):
    adapted(alpha=4).save_pretrained(tmp_path / "peft")
    before = load_file(tmp_path / "peft/adapter_model.safetensors")
    convert(tmp_path / "peft", tmp_path / "diffusers", to="diffusers")
    convert(tmp_path / "diffusers", tmp_path / "a.pt", to="nvidia")
    convert(tmp_path / "a.pt", tmp_path / "back", to="ours", options=Options(lora_alpha=4))
    same(load_file(tmp_path / "back/adapter_model.safetensors"), before)
    config = json.loads((tmp_path / "back/adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (4, 4, "LORA")
    names = list(torch.load(tmp_path / "a.pt", weights_only=True))
    assert "net.blocks.0.self_attn.q_proj.lora_A.default.weight" in names
    with pytest.raises(ValueError, match="alpha=7 would be ignored"):
        convert(tmp_path / "peft", tmp_path / "c.pt", to="nvidia", options=Options(lora_alpha=7))


def test_diffusers_and_peft_load_what_is_written_for_them(tmp_path: Path):
    model = adapted()
    model.save_pretrained(tmp_path / "peft")
    expected = velocity(model)
    torch.save(nvidia_state(network(BASE)), tmp_path / "base.pt")
    convert(tmp_path / "base.pt", tmp_path / "pipeline", to="diffusers")
    convert(tmp_path / "peft", tmp_path / "lora", to="diffusers")
    convert(tmp_path / "lora", tmp_path / "again", to="ours")
    theirs = CosmosTransformer3DModel.from_pretrained(tmp_path / "pipeline/transformer").eval()
    theirs.load_lora_adapter(tmp_path / "lora", weight_name="pytorch_lora_weights.safetensors", prefix="transformer")

    torch.manual_seed(1)
    latent, context, mask = torch.randn(1, 4, 2, 4, 6), torch.randn(1, 5, 36), torch.zeros(1, 1, 2, 4, 6)
    with torch.no_grad():
        found = theirs(
            latent,
            torch.full((1, 1, 2, 1, 1), 0.4),
            context,
            condition_mask=mask,
            padding_mask=mask[:, 0, :1],
            return_dict=False,
        )[0]
    # diffusers reads alpha and rank from the file's header, or the scale here (3) would be 1.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)

    from peft import PeftModel

    own = PeftModel.from_pretrained(network(BASE), tmp_path / "again")
    torch.testing.assert_close(velocity(own), expected, rtol=1e-5, atol=1e-5)


def test_nvidias_adapter_among_the_weights(tmp_path: Path):
    """NVIDIA's trainer injects with PEFT and saves the layer below as it was called before."""
    model = inject_adapter_in_model(LoraConfig(r=4, lora_alpha=32, target_modules=TARGETS), network(BASE))
    assert isinstance(model, DiT)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    expected = velocity(model)
    state = nvidia_state(model)
    assert "net.blocks.0.mlp.layer1.base_layer.weight" in state
    torch.save({name.replace(".base_layer.", "."): tensor for name, tensor in state.items()}, tmp_path / "a.pt")
    torch.save(state, tmp_path / "b.pt")
    with pytest.raises(ValueError, match="merge, extract or drop"):
        convert(tmp_path / "a.pt", tmp_path / "out", to="ours")
    with pytest.raises(ValueError, match="merge it first"):
        load_dit(tmp_path / "a.pt")
    assert not (tmp_path / "out").exists()
    for file in ("a", "b"):
        convert(tmp_path / f"{file}.pt", tmp_path / file, to="ours", options=Options(inner="merge"))
        merged = load_dit(tmp_path / file, dtype=torch.float32)
        torch.testing.assert_close(velocity(merged), expected, rtol=1e-5, atol=1e-4)
    convert(tmp_path / "a.pt", tmp_path / "dropped", to="ours", options=Options(inner="drop"))
    same(stored(tmp_path / "dropped")[1], network(BASE).state_dict())
    convert(tmp_path / "a.pt", tmp_path / "adapter", to="ours", options=Options(inner="extract"))
    again = load_dit(tmp_path / "dropped", dtype=torch.float32, adapter=tmp_path / "adapter")
    torch.testing.assert_close(velocity(again), velocity(merged), rtol=0, atol=0)


def test_a_merge_in_bf16_is_rounded_once(tmp_path: Path):
    model = adapted()
    model.save_pretrained(tmp_path / "adapter")
    base = network(BASE, torch.bfloat16)
    torch.save(nvidia_state(base), tmp_path / "base.pt")
    merged = load_dit(tmp_path / "base.pt", dtype=None, adapter=tmp_path / "adapter").state_dict()
    lora = load_file(tmp_path / "adapter/adapter_model.safetensors")
    name = "blocks.1.cross_attn.k_proj"
    a, b = (lora[f"base_model.model.{name}.lora_{half}.weight"] for half in "AB")
    exact = base.state_dict()[f"{name}.weight"].double() + 3 * b.double() @ a.double()
    assert merged[f"{name}.weight"].dtype == torch.bfloat16
    assert (merged[f"{name}.weight"].double() - exact).abs().max() <= 2**-8 * exact.abs().max()
    assert torch.equal(merged["x_embedder.proj.1.weight"], base.state_dict()["x_embedder.proj.1.weight"])


def test_adapters_that_do_not_fit(tmp_path: Path):
    adapted().save_pretrained(tmp_path / "adapter")
    file, text = tmp_path / "adapter/adapter_model.safetensors", tmp_path / "adapter/adapter_config.json"
    weights, config = load_file(file), json.loads(text.read_text())
    name = "base_model.model.blocks.1.self_attn.q_proj.lora_{}.weight"

    def refused(message: str, changed: dict[str, torch.Tensor]) -> None:
        save_file(changed, file)
        with pytest.raises(ValueError, match=message):
            convert(tmp_path / "adapter", tmp_path / "out", to="diffusers")

    refused("each needs an A and a B", {k: v for k, v in weights.items() if k != name.format("B")})
    refused(r"q_proj has A \(3, 48\)", weights | {name.format("A"): weights[name.format("A")][:3].clone()})
    refused(
        r"blocks\.1\.self_attn\.proj\.lora_A\.weight is no LoRA weight",
        weights | {name.format("A").replace("q_proj", "proj"): torch.ones(4, 48)},
    )
    save_file(weights | {"bias": torch.ones(2)}, file)
    with pytest.raises(ValueError, match="is no LoRA adapter: it holds bias"):
        open_adapter(open_source(tmp_path / "adapter"))
    save_file(weights, file)
    text.write_text(json.dumps(config | {"use_dora": True}))
    with pytest.raises(ValueError, match="use_dora=True"):
        open_adapter(open_source(tmp_path / "adapter"))
    text.write_text(json.dumps(config))
    smaller = network(type(BASE)(**{**vars(BASE), "num_blocks": 1}))
    torch.save(nvidia_state(smaller), tmp_path / "base.pt")
    with pytest.raises(ValueError, match=r"the adapter changes blocks\.1.* the network has no such module"):
        load_dit(tmp_path / "base.pt", adapter=tmp_path / "adapter")
