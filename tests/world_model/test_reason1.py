"""The text encoder against a plain reading of the architecture and the formula, and against diffusers' pipeline."""

import importlib.util
import json
import re
import shutil
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_reason1 as tiny
import torch
from safetensors.torch import load_file
from torch import Tensor

from cosmos_sim.world_model.reason1 import PACKAGES, SYSTEM, Reason1, Reason1Config, find_model, token_ids

PROMPTS = ["pick up the cube", ""]
LENGTH = 110


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("models") / "tiny-reason", shards=True)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def encoder(folder: Path | str, **changes: object) -> Reason1:
    options = {"model": str(folder), "width": tiny.WIDTH, "length": LENGTH, "dtype": "float32", **changes}
    return Reason1(Reason1Config(**options), device="cpu")  # type: ignore[arg-type]


def rms(x: Tensor, gain: Tensor) -> Tensor:
    return gain * x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def turn(x: Tensor) -> Tensor:
    """Rotary positions 0, 1, 2, ... of heads ``h n d``, as complex numbers."""
    n, half = x.shape[1], x.shape[2] // 2
    angle = torch.arange(n).double()[:, None] * 1e6 ** (-torch.arange(half).double() / half)
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([turned.real, turned.imag], -1)


def plain(weights: dict[str, Tensor], ids: Tensor) -> Tensor:
    """Qwen2.5's decoder on text in float64, with nothing but a causal mask; the formula's concatenation."""
    w = {k.removeprefix("model.").removeprefix("language_model."): v.double() for k, v in weights.items()}
    x = w["embed_tokens.weight"][ids]
    n, outputs = len(ids), []
    for layer in range(tiny.LAYERS):
        p = f"layers.{layer}."
        y = rms(x, w[p + "input_layernorm.weight"])
        q, k, v = (
            (y @ w[f"{p}self_attn.{c}_proj.weight"].T + w[f"{p}self_attn.{c}_proj.bias"])
            .view(n, -1, tiny.HEAD)
            .transpose(0, 1)
            for c in "qkv"
        )
        scores = turn(q) @ turn(k).transpose(1, 2) / tiny.HEAD**0.5 + torch.full((n, n), -torch.inf).triu(1)
        heard = (scores.softmax(-1) @ v).transpose(0, 1).reshape(n, -1)
        x = x + heard @ w[p + "self_attn.o_proj.weight"].T
        y = rms(x, w[p + "post_attention_layernorm.weight"])
        gate = torch.nn.functional.silu(y @ w[p + "mlp.gate_proj.weight"].T)
        x = x + (gate * (y @ w[p + "mlp.up_proj.weight"].T)) @ w[p + "mlp.down_proj.weight"].T
        outputs.append(x)
    outputs[-1] = rms(x, w["norm.weight"])
    return torch.cat([(h - h.mean(-1, keepdim=True)) / (h.std(-1, keepdim=True) + 1e-8) for h in outputs], -1)


def weights_of(folder: Path) -> dict[str, Tensor]:
    return {k: v for file in folder.glob("*.safetensors") for k, v in load_file(file).items()}


def test_agrees_with_a_direct_reading_of_the_formula(folder):
    made = encoder(folder)
    out = made.encode(PROMPTS)
    assert out.shape == (2, LENGTH, tiny.WIDTH)
    assert out.dtype == torch.float32
    for row, prompt in zip(out, PROMPTS, strict=True):
        expected = plain(weights_of(folder), token_ids(tiny.tokenizer(), prompt, length=LENGTH))
        assert (row - expected).abs().max() < 1e-5
    assert (out[0, -1] - out[0, -2]).abs().max() > 1e-3
    assert (out[0, -1] - out[1, -1]).abs().max() > 1e-3


def test_agrees_with_diffusers_pipeline(folder):
    from diffusers.pipelines.cosmos.pipeline_cosmos2_5_predict import Cosmos2_5_PredictBasePipeline
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

    pipeline = SimpleNamespace(
        tokenizer=AutoTokenizer.from_pretrained(folder),
        text_encoder=Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval(),
        _execution_device=torch.device("cpu"),
    )
    with torch.no_grad():
        theirs = Cosmos2_5_PredictBasePipeline._get_prompt_embeds(pipeline, PROMPTS, max_sequence_length=LENGTH)
    torch.testing.assert_close(encoder(folder).encode(PROMPTS), theirs, atol=1e-5, rtol=1e-5)


def test_the_template_word_for_word():
    made = tiny.tokenizer()
    ids = token_ids(made, "lift the cube", length=LENGTH)
    text = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\nlift the cube<|im_end|>\n"
    assert made.decode(ids).removesuffix("<|endoftext|>" * (ids == made.pad_token_id).sum()) == text
    assert ids.shape == (LENGTH,)
    assert (ids[-5:] == made.pad_token_id).all()
    whole = made(text)["input_ids"]
    with pytest.warns(UserWarning, match=rf"last {len(whole) - 20} of its {len(whole)} tokens are cut off"):
        assert token_ids(made, "lift the cube", length=20).tolist() == whole[:20]


def test_a_prompt_does_not_depend_on_its_company(folder):
    made = encoder(folder)
    both = made.encode(PROMPTS)
    assert torch.equal(made.encode(PROMPTS[1:])[0], both[1])


def test_bf16_is_near(folder):
    exact, rough = encoder(folder).encode(PROMPTS), encoder(folder, dtype="bfloat16").encode(PROMPTS)
    assert rough.dtype == torch.bfloat16
    assert 0 < (rough - exact).abs().mean() < 0.05


def test_weights_are_loaded_when_needed_and_given_back(folder):
    made = encoder(folder)
    assert not made.loaded
    made.identity(), made.weights()
    assert not made.loaded
    first = made.encode(PROMPTS[:1])
    assert made.loaded
    assert made._loaded is not None
    model = weakref.ref(made._loaded[0])
    made.release()
    assert not made.loaded
    assert model() is None
    assert torch.equal(made.encode(PROMPTS[:1]), first)


def test_a_hub_id_is_found_in_the_hub_cache(folder, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--some--encoder" / "snapshots" / ("a" * 40)
    shutil.copytree(folder, snapshot)
    (tmp_path / "models--some--encoder" / "refs").mkdir()
    (tmp_path / "models--some--encoder" / "refs" / "main").write_text("a" * 40)
    assert find_model("some/encoder") == snapshot
    assert find_model("some/other") is None
    assert torch.equal(encoder("some/encoder").encode(PROMPTS), encoder(folder).encode(PROMPTS))


def test_missing_weights_name_the_model_and_the_command():
    with pytest.raises(ValueError, match=r"'nvidia/Cosmos-Reason1-7B' is not here.*hf download nvidia/Cosmos-Reason1"):
        Reason1(device="cpu").encode(PROMPTS)
    with pytest.raises(ValueError, match="hf download a/b --revision c"):
        encoder("a/b", revision="c").encode(PROMPTS)


def change(folder: Path, file: str, **values: object) -> None:
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_other_models_are_refused(copy):
    with pytest.raises(ValueError, match=r"3 layers of 64 make vectors of 192, not of width=100352"):
        encoder(copy, width=100352).encode(PROMPTS)
    change(copy, "config.json", model_type="qwen2_vl")
    with pytest.raises(ValueError, match="model_type='qwen2_vl', not a qwen2_5_vl"):
        encoder(copy).encode(PROMPTS)
    (copy / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        encoder(copy).encode(PROMPTS)


def test_incomplete_weights_are_refused(copy):
    shard = sorted(copy.glob("model-*.safetensors"))[2]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match=re.escape(f"{shard} ({len(whole) - 9} bytes) is damaged")):
        encoder(copy).encode(PROMPTS)
    shard.unlink()
    with pytest.raises(ValueError, match=re.escape(f"{shard} is missing")):
        encoder(copy).encode(PROMPTS)
    index = copy / "model.safetensors.index.json"
    names = json.loads(index.read_text())["weight_map"]
    change(copy, index.name, weight_map={k: v for k, v in names.items() if v != shard.name})
    with pytest.raises(ValueError, match=r"lacks \d+ weights of its config"):
        encoder(copy).encode(PROMPTS)


def test_a_tokenizer_without_a_template_is_refused(copy):
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="no chat template"):
        encoder(copy).encode(PROMPTS)


@pytest.mark.parametrize("kind", sorted(PACKAGES))
def test_quantisation_needs_its_package(folder, kind):
    made = encoder(folder, quantise=kind, dtype="bfloat16")
    if importlib.util.find_spec(PACKAGES[kind]) is None:
        with pytest.raises(ValueError, match=f"quantise='{kind}' needs the package {PACKAGES[kind]}: pip install"):
            made.encode(PROMPTS)
    else:
        error = (made.encode(PROMPTS).float() - encoder(folder).encode(PROMPTS)).abs().mean()
        assert 0 < error < (0.1 if kind == "int8" else 0.5)


def test_wrong_options_are_named(folder):
    with pytest.raises(ValueError, match="bfloat16 or float32, not 'fp8'"):
        encoder(folder, dtype="fp8")
    with pytest.raises(ValueError, match="int8 or nf4, not 'int4'"):
        encoder(folder, quantise="int4")
    with pytest.raises(ValueError, match="not 0 and"):
        encoder(folder, length=0)
    with pytest.raises(ValueError, match="revision='main' would be ignored"):
        encoder(folder, revision="main")
