"""Control branches through every format and back: not a bit changes, and diffusers computes the same."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import CosmosControlNetModel, CosmosTransformer3DModel
from tiny_branches import ONE, STYLED, branch, held, stored_controls, styled, transfer_state
from tiny_networks import BASE, network, nvidia_state, same, shards

from cosmos_sim.cli import main
from cosmos_sim.world_model.checkpoints.control import infer_control
from cosmos_sim.world_model.checkpoints.controlnet import controlnet_config
from cosmos_sim.world_model.checkpoints.convert import Options, convert
from cosmos_sim.world_model.checkpoints.infer import Unseen
from cosmos_sim.world_model.checkpoints.load import load_controlled, load_dit
from cosmos_sim.world_model.control import KINDS, Control, ControlBranch, ControlConfig
from cosmos_sim.world_model.dit import PRESETS, DiT


def expected(base: DiT, kinds: Sequence[str], *branches: ControlBranch) -> dict[str, torch.Tensor]:
    parts = {"dit": base, **dict(zip(kinds, branches, strict=True))}
    return {f"{part}/{name}": t for part, model in parts.items() for name, t in model.state_dict().items()}


def test_one_branch_through_every_format(tmp_path: Path):
    base = styled()
    own = branch(base)
    torch.save(transfer_state(base, own), tmp_path / "first.pt")
    named, small = Options(controls=("depth",), max_shard=20_000), Options(max_shard=20_000)
    convert(tmp_path / "first.pt", tmp_path / "ours", to="ours", options=named)
    opened = stored_controls(tmp_path / "ours")
    assert opened.base is not None
    assert opened.base.config == STYLED
    assert opened.branches["depth"].config == ONE
    same(held(opened), expected(base, ["depth"], own))
    assert len(list((tmp_path / "ours/controls/depth").glob("model-*.safetensors"))) > 3

    convert(tmp_path / "ours", tmp_path / "second.pt", to="nvidia")
    theirs = transfer_state(base, own)
    tables = {name: tensor.bfloat16() for name, tensor in theirs.items() if "pos_embedder" in name}
    same(torch.load(tmp_path / "second.pt", weights_only=True), theirs | tables)
    convert(tmp_path / "ours", tmp_path / "iter/model", to="nvidia-dcp")
    convert(tmp_path / "iter", tmp_path / "third.pt", to="nvidia")
    same(torch.load(tmp_path / "third.pt", weights_only=True), theirs | tables)

    convert(tmp_path / "ours", tmp_path / "pipeline", to="diffusers", options=small)
    convert(tmp_path / "pipeline", tmp_path / "back", to="ours", options=named)
    same(held(stored_controls(tmp_path / "back")), expected(base, ["depth"], own))
    for file in ("dit/config.json", "controls/depth/config.json"):
        assert (tmp_path / "back" / file).read_text() == (tmp_path / "ours" / file).read_text()


def test_four_branches_in_their_order(tmp_path: Path):
    base = network(BASE)
    four = [branch(base, number, ControlConfig(3, 1, 6)) for number in range(4)]
    torch.save(transfer_state(base, *four), tmp_path / "first.pt")
    convert(tmp_path / "first.pt", tmp_path / "ours", to="ours")
    same(held(stored_controls(tmp_path / "ours")), expected(base, KINDS, *four))
    convert(tmp_path / "ours", tmp_path / "second.pt", to="nvidia")
    same(torch.load(tmp_path / "second.pt", weights_only=True), transfer_state(base, *four))

    convert(tmp_path / "ours", tmp_path / "pipeline", to="diffusers")
    assert {p.name for p in (tmp_path / "pipeline").iterdir()} == {"transformer", *(f"controlnet_{k}" for k in KINDS)}
    convert(tmp_path / "pipeline", tmp_path / "third.pt", to="nvidia")
    same(torch.load(tmp_path / "third.pt", weights_only=True), transfer_state(base, *four))

    two = Options(controls=("seg", "edge"))
    convert(tmp_path / "ours", tmp_path / "two.pt", to="nvidia", options=two)
    same(torch.load(tmp_path / "two.pt", weights_only=True), transfer_state(base, four[0], four[3]))
    convert(tmp_path / "two.pt", tmp_path / "again", to="ours", options=Options(controls=("edge", "seg")))
    same(held(stored_controls(tmp_path / "again")), expected(base, ["edge", "seg"], four[0], four[3]))


def test_branches_are_not_taken_for_each_other(tmp_path: Path):
    """NVIDIA calls blur vis; a folder that says nothing beside others that do is not named by its place among them."""
    base = network(BASE)
    four = [branch(base, number, ControlConfig(3, 1, 6)) for number in range(4)]
    torch.save(transfer_state(base, *four), tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "p", to="diffusers")
    (tmp_path / "p/controlnet_blur").rename(tmp_path / "p/controlnet_vis")
    same(held(stored_controls(tmp_path / "p")), expected(base, KINDS, *four))
    (tmp_path / "p/controlnet_vis").rename(tmp_path / "p/controlnet_2")
    for kinds in (None, KINDS):
        with pytest.raises(ValueError, match=r"4 control branches, of which each needs a name of its own: \['depth'"):
            convert(tmp_path / "p", tmp_path / "ours", to="ours", options=Options(controls=kinds))


def test_a_branch_by_itself(tmp_path: Path):
    base = network(BASE)
    own = branch(base, config=ControlConfig(2, 2, 6))
    torch.save(transfer_state(base, own), tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "ours", to="ours", options=Options(controls=("edge",)))
    convert(tmp_path / "ours/controls/edge", tmp_path / "bf16", to="ours", options=Options(dtype=torch.bfloat16))
    same(shards(tmp_path / "bf16"), {name: tensor.bfloat16() for name, tensor in own.state_dict().items()})
    alone = tmp_path / "ours/controls/edge"
    with pytest.raises(ValueError, match="edge branch lies without its transformer: give it as base"):
        convert(alone, tmp_path / "b.pt", to="nvidia")
    convert(alone, tmp_path / "b.pt", to="nvidia", options=Options(base=tmp_path / "ours/dit"))
    same(torch.load(tmp_path / "b.pt", weights_only=True), transfer_state(base, own))

    convert(tmp_path / "ours", tmp_path / "pipeline", to="diffusers")
    with pytest.raises(ValueError, match="does not say what transformer it stands beside"):
        convert(tmp_path / "pipeline/controlnet", tmp_path / "c", to="ours")
    beside = Options(base=tmp_path / "pipeline/transformer", controls=("edge",))
    convert(tmp_path / "pipeline/controlnet", tmp_path / "c", to="ours", options=beside)
    same(held(stored_controls(tmp_path / "c")), expected(base, ["edge"], own))


@pytest.mark.parametrize("image", [False, True])
def test_diffusers_loads_what_is_converted_and_computes_the_same(image: bool, tmp_path: Path):
    config = replace(STYLED, image_dim=STYLED.image_dim if image else None)
    base = network(config)
    torch.save(transfer_state(base, branch(base)), tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "pipeline", to="diffusers")
    control = CosmosControlNetModel.from_pretrained(tmp_path / "pipeline", subfolder="controlnet").eval()
    transformer = CosmosTransformer3DModel.from_pretrained(tmp_path / "pipeline", subfolder="transformer").eval()
    kinds = ["seg"]
    models = [load_controlled(tmp_path / p, kinds=kinds, dtype=torch.float32).eval() for p in ("a.pt", "pipeline")]

    torch.manual_seed(1)
    latent, hint, text = torch.randn(1, 4, 2, 4, 6), torch.randn(1, 4, 2, 4, 6), torch.randn(1, 5, 36)
    style = torch.randn(1, 3, 7) if image else None
    mask = torch.zeros(1, 1, 2, 4, 6)
    mask[:, :, 0] = 1
    time = torch.tensor([[3.0, 600.0]])
    told = {
        "timestep": (time * 1e-3)[:, None, :, None, None],
        "encoder_hidden_states": (text, style) if image else text,
        "condition_mask": mask,
        "padding_mask": torch.zeros(1, 1, 4, 6),
        "return_dict": False,
    }
    with torch.no_grad():
        hints = control(controls_latents=hint, latents=latent, conditioning_scale=0.8, **told)[0]
        theirs = transformer(hidden_states=latent, block_controlnet_hidden_states=hints, **told)[0]
        ours, again = (
            m(latent, time, mask, controls={"seg": Control(hint, 0.8)}, context=text, image_context=style)
            for m in models
        )
        without = models[0](latent, time, mask, controls={}, context=text, image_context=style)
    assert (theirs - without).abs().max() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())
    assert torch.equal(ours, again)


def test_what_diffusers_saves_is_read(tmp_path: Path):
    """Its own saved folders, of separate downloads: the control network here, the transformer there."""
    base = network(BASE)
    torch.save(transfer_state(base, branch(base, config=ControlConfig(3, 1, 6))), tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "p", to="diffusers")
    control = CosmosControlNetModel.from_pretrained(tmp_path / "p/controlnet")
    control.save_pretrained(tmp_path / "control", max_shard_size="50KB")
    CosmosTransformer3DModel.from_pretrained(tmp_path / "p/transformer").save_pretrained(tmp_path / "base")
    convert(tmp_path / "control", tmp_path / "b.pt", to="nvidia", options=Options(base=tmp_path / "base"))
    same(torch.load(tmp_path / "b.pt", weights_only=True), torch.load(tmp_path / "a.pt", weights_only=True))


def test_the_2b_has_the_released_names_and_shapes():
    base = replace(PRESETS["predict2.5-2b"], image_dim=1152)
    with torch.device("meta"):
        control = ControlBranch(base, ControlConfig()).state_dict()
        dit = DiT(base).state_dict()
        settings = {k: v for k, v in controlnet_config(ControlConfig(), base).items() if not k.startswith("_")}
        theirs = CosmosControlNetModel(**settings).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in (dit | control).items()}
    released = {
        "control_embedder.proj.1.weight": (2048, 520),
        "control_blocks.0.before_proj.weight": (2048, 2048),
        "control_blocks.0.before_proj.bias": (2048,),
        "control_blocks.3.after_proj.weight": (2048, 2048),
        "control_blocks.3.after_proj.bias": (2048,),
        "control_blocks.3.cross_attn.q_img.weight": (2048, 2048),
        "blocks.27.cross_attn.k_img.weight": (2048, 2048),
        "blocks.27.cross_attn.q_img_norm.weight": (128,),
        "img_context_proj.0.weight": (2048, 1152),
        "img_context_proj.0.bias": (2048,),
    }
    assert {name: shapes[name] for name in released} == released
    assert "control_blocks.1.before_proj.weight" not in shapes
    assert infer_control({n: shapes[n] for n in control}, base, where="2b") == ControlConfig()
    own = {n: s for n, s in shapes.items() if not n.startswith(("blocks.", "final_layer."))}
    assert sorted(own.values()) == sorted(tuple(tensor.shape) for tensor in theirs.values())
    published = {
        "n_controlnet_blocks": 4,
        "model_channels": 2048,
        "in_channels": 130,
        "latent_channels": 18,
        "num_attention_heads": 16,
        "attention_head_dim": 128,
        "mlp_ratio": 4.0,
        "text_embed_dim": 1024,
        "adaln_lora_dim": 256,
        "patch_size": [1, 2, 2],
    }
    assert {name: settings[name] for name in published} == published


def test_refusals(tmp_path: Path):
    base = network(BASE)
    own = branch(base, config=ControlConfig(2, 2, 6))
    state = transfer_state(base, own)

    def refused(message: str, changed: dict, *, to: str = "ours", **options: object) -> None:
        torch.save(changed, tmp_path / "a.pt")
        target = tmp_path / ("out.pt" if to == "nvidia" else "out")
        with pytest.raises(ValueError, match=message):
            convert(tmp_path / "a.pt", target, to=to, options=Options(**options))  # type: ignore[arg-type]
        assert not target.exists()

    refused("say which control it is: edge, blur, depth, seg", state)
    refused("unknown control 'egde'; did you mean 'edge'", state, controls=("egde",))
    refused(
        r"holds 1 control branches without names: give as many, not \['edge', 'seg'\]", state, controls=("edge", "seg")
    )
    refused(r"controls name one twice", state, controls=("edge", "edge"))
    refused("base=.* would be ignored for branches with their", state, base=tmp_path / "a.pt", controls=("edge",))
    refused("base=.* would be ignored for a network without control", nvidia_state(base), base=tmp_path / "a.pt")
    refused("control_every=2 would be ignored", nvidia_state(base), unseen=Unseen(control_every=2))
    refused("keep_actions=True would be ignored for control branches", state, keep_actions=True)
    cut = {name: t for name, t in state.items() if "control_blocks.1.mlp.layer1" not in name}
    refused(r"1 weights missing \(first: \['control_blocks.1.mlp.layer1", cut, controls=("edge",))
    two = transfer_state(base, own, own)
    gap = {name.replace("_1.", "_2.").replace("embedder.1.", "embedder.2."): t for name, t in two.items()}
    refused("numbered from 0 without a gap; there are: 0, 2", gap, controls=("edge", "seg"))
    refused("a hint for block 5, but the transformer has 3", state, unseen=Unseen(control_every=5), controls=("edge",))
    with pytest.raises(ValueError, match=r"looks like a Transfer2\.5 network"):
        load_dit(tmp_path / "a.pt")

    torch.save(state, tmp_path / "a.pt")
    sparse = Options(unseen=Unseen(control_every=1), controls=("edge",))
    convert(tmp_path / "a.pt", tmp_path / "ours", to="ours", options=sparse)
    with pytest.raises(ValueError, match="every n-th of all 3 blocks; the edge branch has 2 blocks, every=1"):
        convert(tmp_path / "ours", tmp_path / "b.pt", to="nvidia")
    with pytest.raises(ValueError, match="has no seg branch, only edge"):
        load_controlled(tmp_path / "ours", kinds=["seg"])
    with pytest.raises(ValueError, match=r"base=.* would be ignored: .* holds a transformer"):
        load_controlled(tmp_path / "ours", base=tmp_path / "ours/dit")
    with pytest.raises(ValueError, match="control branches, which a network alone does not have"):
        load_dit(tmp_path / "ours")
    torch.save(nvidia_state(network(replace(BASE, num_blocks=4))), tmp_path / "deeper.pt")
    adapted = nvidia_state(base) | {"net.blocks.0.self_attn.q_proj.lora_A.default.weight": torch.ones(2, 48)}
    torch.save(adapted, tmp_path / "adapted.pt")
    with pytest.raises(ValueError, match="holds a LoRA adapter among its weights: merge it first"):
        load_controlled(tmp_path / "ours/controls/edge", base=tmp_path / "adapted.pt")
    with pytest.raises(ValueError, match="for a transformer of num_blocks=3, this one has 4"):
        load_controlled(tmp_path / "ours/controls/edge", base=tmp_path / "deeper.pt")


def test_a_control_network_of_another_transformer_is_refused(tmp_path: Path):
    base = network(BASE)
    torch.save(transfer_state(base, branch(base, config=ControlConfig(3, 1, 6))), tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "p", to="diffusers")
    with torch.no_grad():
        base.t_embedder[1].linear_1.weight[0, 0] += 1
    torch.save(nvidia_state(base), tmp_path / "other.pt")
    convert(tmp_path / "other.pt", tmp_path / "p", to="diffusers", overwrite=True)
    with pytest.raises(ValueError, match=r"its copy of t_embedder\.1\.linear_1\.weight is not the transformer's own"):
        convert(tmp_path / "p", tmp_path / "out", to="ours", options=Options(controls=("edge",)))
    config = tmp_path / "p/controlnet/config.json"
    convert(tmp_path / "a.pt", tmp_path / "q", to="diffusers")
    wrong = json.loads((tmp_path / "q/controlnet/config.json").read_text()) | {"n_controlnet_blocks": 4}
    config = tmp_path / "q/controlnet/config.json"
    config.write_text(json.dumps(wrong))
    with pytest.raises(ValueError, match="says n_controlnet_blocks=4, its weights say 3"):
        convert(tmp_path / "q", tmp_path / "out", to="ours", options=Options(controls=("edge",)))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    base = network(BASE)
    torch.save(transfer_state(base, branch(base, config=ControlConfig(2, 2, 6))), tmp_path / "a.pt")
    source, target = str(tmp_path / "a.pt"), str(tmp_path / "ours")
    main(["convert", source, target, "--to", "ours", "--controls", "blur", "--control-every", "2"])
    assert "control: " in capsys.readouterr().out
    assert json.loads((tmp_path / "ours/controls/blur/config.json").read_text())["control"] == "blur"
    main(["convert", source, target, "--to", "ours", "--controls", "edge", "--overwrite"])
    assert [path.name for path in (tmp_path / "ours/controls").iterdir()] == ["edge"]
    main(["convert", target + "/controls/edge", str(tmp_path / "b.pt"), "--to", "nvidia", "--base", target + "/dit"])
    same(torch.load(tmp_path / "b.pt", weights_only=True), torch.load(source, weights_only=True))
