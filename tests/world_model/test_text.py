"""Prompts are encoded once; the encoder stays on disk while the cache, or the absence of a prompt, says enough."""

import shutil
from pathlib import Path

import pytest
import tiny_reason1 as tiny
import torch
from torch import nn

from cosmos_sim.world_model.prompt_cache import PromptCache
from cosmos_sim.world_model.reason1 import Reason1, Reason1Config
from cosmos_sim.world_model.text import TextConditioner, TextEncoder

PROMPT = "stack the red cube"
LENGTH = 96


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write(tmp_path / "models" / "tiny-reason")


def encoder(folder: Path, **changes: object) -> Reason1:
    options = {"model": str(folder), "width": tiny.WIDTH, "length": LENGTH, "dtype": "float32", **changes}
    return Reason1(Reason1Config(**options), device="cpu")  # type: ignore[arg-type]


def projection(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(tiny.WIDTH, 10), nn.GELU())


def files(cache: Path) -> list[Path]:
    return sorted(cache.iterdir()) if cache.is_dir() else []


def test_a_cached_prompt_needs_no_weights(folder, tmp_path):
    cache = tmp_path / "cache"
    first = TextConditioner(encoder(folder), cache=cache).encode([PROMPT, None, PROMPT])
    assert first.shape == (3, LENGTH, tiny.WIDTH)
    assert torch.equal(first[0], encoder(folder).encode([PROMPT])[0])
    assert torch.equal(first[0], first[2])
    assert not first[1].any()
    shutil.rmtree(folder)
    gone = encoder(folder)
    again = TextConditioner(gone, cache=cache)
    assert torch.equal(again.encode([PROMPT, None, PROMPT]), first)
    assert again.prepare([PROMPT, None]) == 0
    assert not gone.loaded
    with pytest.raises(ValueError, match="hf download"):
        again.encode([PROMPT, "another"])


def test_no_prompt_needs_no_weights(tmp_path):
    made = Reason1(Reason1Config(model=str(tmp_path / "nothing")), device="cpu")
    out = TextConditioner(made).encode([None])
    assert out.shape == (1, 512, 100352)
    assert out.dtype == torch.bfloat16
    assert not out.any()
    assert not made.loaded


def test_the_empty_prompt_is_a_prompt(folder):
    out = TextConditioner(encoder(folder)).encode(["", None])
    assert out[0].abs().mean() > 0.1
    assert not out[1].any()


def test_the_encoder_is_released_after_its_work_unless_kept(folder, tmp_path):
    made = encoder(folder)
    TextConditioner(made).encode([PROMPT])
    assert not made.loaded
    TextConditioner(made, cache=tmp_path / "cache").prepare([PROMPT])
    assert not made.loaded
    TextConditioner(made, keep=True).encode([PROMPT])
    assert made.loaded


def test_prepare_counts_what_was_missing(folder, tmp_path):
    text = TextConditioner(encoder(folder), cache=tmp_path / "cache")
    assert text.prepare([PROMPT, "", PROMPT, None]) == 2
    assert len(files(tmp_path / "cache")) == 2
    assert text.prepare([PROMPT, "third"]) == 1
    with pytest.raises(ValueError, match="only for a cache"):
        TextConditioner(encoder(folder)).prepare([PROMPT])


@pytest.mark.parametrize("change", [{"length": LENGTH + 1}, {"dtype": "bfloat16"}])
def test_other_settings_are_other_entries(folder, tmp_path, change):
    cache = tmp_path / "cache"
    TextConditioner(encoder(folder), cache=cache).encode([PROMPT])
    assert TextConditioner(encoder(folder, **change), cache=cache).prepare([PROMPT]) == 1
    assert len(files(cache)) == 2


def test_quantised_embeddings_are_kept_apart(folder):
    names = {encoder(folder, quantise=kind).identity()["quantise"] for kind in (None, "int8", "nf4")}
    assert len(names) == 3


def test_other_weights_of_the_same_name_are_noticed(folder, tmp_path):
    cache = tmp_path / "cache"
    old = TextConditioner(encoder(folder), cache=cache).encode([PROMPT])
    tiny.write(folder, seed=1)
    new = TextConditioner(encoder(folder), cache=cache).encode([PROMPT])
    assert torch.equal(new, encoder(folder).encode([PROMPT]))
    assert (new - old).abs().max() > 0.1
    assert len(files(cache)) == 1


def test_a_damaged_entry_is_written_anew(folder, tmp_path):
    cache = tmp_path / "cache"
    text = TextConditioner(encoder(folder), cache=cache)
    whole = text.encode([PROMPT])
    (entry,) = files(cache)
    for damage in (b"", entry.read_bytes()[:-5], b"no safetensors at all"):
        entry.write_bytes(damage)
        assert torch.equal(text.encode([PROMPT]), whole)
        assert files(cache) == [entry]
    assert text.prepare([PROMPT]) == 0


def test_projected_embeddings_are_small_and_belong_to_their_layer(folder, tmp_path):
    cache, layer = tmp_path / "cache", projection()
    text = TextConditioner(encoder(folder), cache=cache, projection=layer)
    out = text.encode([PROMPT, None])
    assert out.shape == (2, LENGTH, 10)
    assert not out.requires_grad
    raw = torch.stack([encoder(folder).encode([PROMPT])[0], torch.zeros(LENGTH, tiny.WIDTH)])
    with torch.no_grad():
        torch.testing.assert_close(out, layer(raw))
    (entry,) = files(cache)
    assert entry.stat().st_size < LENGTH * 10 * 4 + 2000
    shutil.rmtree(folder)
    assert torch.equal(text.encode([PROMPT, None]), out)
    with torch.no_grad():
        layer[0].bias[3] += 1
    with pytest.raises(ValueError, match="hf download"):
        text.encode([PROMPT])


@pytest.mark.parametrize("prompts", [[], "a bare string", [PROMPT, 3]])
def test_what_is_no_list_of_prompts_is_refused(tmp_path, prompts):
    with pytest.raises(ValueError, match=r"^(prompts must be|a prompt must be)"):
        TextConditioner(encoder(tmp_path)).encode(prompts)


class Letters:
    """A text encoder that needs no weights: one row a letter, its code in binary."""

    length, width = 12, 8
    device, dtype = torch.device("cpu"), torch.float32

    def identity(self) -> dict[str, str]:
        return {"encoder": "letters"}

    def weights(self) -> None:
        return None

    def encode(self, prompts: list[str]) -> torch.Tensor:
        codes = torch.tensor([[ord(c) for c in p.ljust(self.length)[: self.length]] for p in prompts])
        return (codes[..., None] >> torch.arange(self.width) & 1).float()

    def release(self) -> None: ...


def test_any_encoder_of_the_protocol_will_do(tmp_path):
    letters: TextEncoder = Letters()
    text = TextConditioner(letters, cache=tmp_path)
    out = text.encode(["ab", "c"])
    assert out.shape == (2, 12, 8)
    assert out[1, 0].tolist() == [1, 1, 0, 0, 0, 1, 1, 0]
    kept = PromptCache(tmp_path).load(letters.identity(), "ab", weights=None, device=torch.device("cpu"))
    assert kept is not None
    assert torch.equal(kept, out[0])
