"""Transfer worlds on disk: what one folder, separate exports, and the files of others give is the same video."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_predict import DIT, images, lively, tiny_dit, tiny_wan
from tiny_transfer import BRANCH, VIEWS, tiny_tokenizer

from cosmos_sim.cli import main
from cosmos_sim.world_model.checkpoints.control import Branch, Controls
from cosmos_sim.world_model.checkpoints.control_write import (
    save_branch,
    save_controls,
    save_controls_diffusers,
    save_controls_nvidia,
)
from cosmos_sim.world_model.checkpoints.network import Network, save_ours
from cosmos_sim.world_model.checkpoints.stored import held
from cosmos_sim.world_model.control import KINDS, ControlBranch
from cosmos_sim.world_model.denoise import SAMPLING, SamplingConfig
from cosmos_sim.world_model.load_transfer import load_transfer, pack_transfer
from cosmos_sim.world_model.tokenizer_folder import save_tokenizer
from cosmos_sim.world_model.transfer import ControlVideo, Transfer
from cosmos_sim.world_model.transfer_folder import NEGATIVE_PROMPT, is_transfer
from cosmos_sim.world_model.words import Words, WordsConfig

SMALL = replace(DIT, context_in_dim=24)
WORDS = WordsConfig(length=8, neighbours=1, word=8)
SETTINGS = {"sampling": SamplingConfig(steps=2, guidance=1.0), "chunk": 5, "size": (16, 32), "views": VIEWS}
FILES = {"device": "cpu", "dtype": "float32"}
PROMPT = "a robot arm over a blue table"


def parts(kinds=("edge", "depth"), config=SMALL) -> Controls:
    def weights(module):
        return {name: held(tensor) for name, tensor in module.state_dict().items()}

    made = {kind: lively(ControlBranch(config, BRANCH), seed=1 + i) for i, kind in enumerate(kinds)}
    return Controls(
        {kind: Branch(BRANCH, config, weights(branch)) for kind, branch in made.items()},
        Network(config, weights(tiny_dit(config))),
    )


@pytest.fixture(scope="module")
def exports(tmp_path_factory) -> Path:
    """What training leaves: a base with its tokenizer and words, branches, an annotator, in folders of their own."""
    folder, controls = tmp_path_factory.mktemp("exports"), parts()
    save_ours(controls.with_base(), folder / "base")
    save_tokenizer(tiny_tokenizer(), folder / "base" / "tokenizer")
    Words(WORDS).save_pretrained(folder / "base" / "text")
    for kind, branch in controls.branches.items():
        save_branch(kind, branch, folder / kind)
    (folder / "annotator").mkdir()
    (folder / "annotator" / "config.json").write_text('{"kind": "annotator"}')
    return folder


def video(transfer: Transfer, *, kinds=("edge", "depth"), size=(16, 32), **options) -> np.ndarray:
    controls = {kind: ControlVideo(images(7, size, seed=i)) for i, kind in enumerate(kinds)}
    return np.concatenate([*transfer.translate(controls, **{"prompt": PROMPT, "seed": 3, **options})])


@pytest.fixture(scope="module")
def separate(exports) -> Transfer:
    branches = {"edge": exports / "edge", "depth": exports / "depth"}
    return load_transfer(exports / "base", branches=branches, changes=SETTINGS, **FILES)


def test_packed_it_is_what_its_parts_are(exports, separate, tmp_path):
    pack_transfer(
        tmp_path / "world",
        model=exports / "base",
        branches={"edge": exports / "edge", "depth": exports / "depth"},
        annotator=exports / "annotator",
        changes={**SETTINGS, "provenance": {"data": "100 scenes"}},
    )
    packed = Transfer.from_pretrained(tmp_path / "world", **FILES)
    np.testing.assert_array_equal(video(packed), video(separate))
    assert (video(packed, prompt="dark") != video(packed)).any()
    assert (packed.views, packed.config.kinds, packed.config.negative_prompt) == (VIEWS, ("edge", "depth"), None)
    assert packed.annotator == tmp_path / "world" / "annotator"
    assert separate.annotator is None
    card = (tmp_path / "world" / "README.md").read_text()
    assert "agentview, wrist side by side" in card
    assert "100 scenes" in card
    packed.save_pretrained(tmp_path / "again")
    assert files(tmp_path / "again") == files(tmp_path / "world")
    changed = load_transfer(tmp_path / "world", changes={"chunk": 7}, **FILES)
    assert (changed.config.chunk, changed.views) == (7, VIEWS)


def files(folder: Path) -> dict[str, object]:
    """What is in each file; of weights by name, as their order in a file means nothing."""
    return {
        str(file.relative_to(folder)): {name: tensor.tolist() for name, tensor in load_file(file).items()}
        if file.suffix == ".safetensors"
        else file.read_text()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_packed_again_it_keeps_what_is_not_changed(separate, tmp_path, capsys):
    """By the command: other guidance, and all else as the world has it."""
    separate.save_pretrained(tmp_path / "w")
    main(["pack", "--model", str(tmp_path / "w"), "--out", str(tmp_path / "again"), "--guidance", "2.5"])
    found = load_transfer(tmp_path / "again", **FILES).config
    assert found == replace(separate.config, sampling=replace(SETTINGS["sampling"], guidance=2.5))


def test_packed_in_half_the_bytes(exports, tmp_path):
    branches = {"edge": exports / "edge"}
    pack_transfer(tmp_path / "w", model=exports / "base", branches=branches, changes=SETTINGS, dtype=torch.bfloat16)
    for file in (tmp_path / "w" / "dit", tmp_path / "w" / "controls" / "edge"):
        assert {tensor.dtype for tensor in load_file(file / "model.safetensors").values()} == {torch.bfloat16}
    found = load_transfer(tmp_path / "w", **FILES)
    assert next(found.parts.use("dit").parameters()).dtype == torch.float32
    assert video(found, kinds=("edge",)).shape == (7, 16, 32, 3)


@pytest.mark.parametrize("kinds", [KINDS, ("seg",)])
@pytest.mark.parametrize("kind_of_file", ["nvidia", "diffusers", "ours"])
def test_files_of_others_give_the_same(tmp_path, kinds, kind_of_file):
    """NVIDIA's four-branch file, diffusers' folders and ours; of one branch, NVIDIA's beside a transformer."""
    controls, branches = parts(kinds, DIT), None
    if kind_of_file == "nvidia":
        save_controls_nvidia(controls, model := tmp_path / "transfer.pt")
        if len(kinds) == 1:
            save_ours(controls.with_base(), tmp_path / "base")
            branches, model = {kinds[0]: model}, tmp_path / "base"
    elif kind_of_file == "diffusers":
        save_controls_diffusers(controls, model := tmp_path / "pipeline")
        if len(kinds) == 1:
            branches, model = {kinds[0]: model / "controlnet"}, model / "transformer"
    else:
        save_controls(controls, model := tmp_path / "ours")
    save_tokenizer(tiny_wan(), tmp_path / "vae")
    changes = {"sampling": SamplingConfig(steps=2, guidance=0.0), "chunk": 9, "size": (32, 48)}
    options = {"tokenizer": tmp_path / "vae", "changes": changes, **FILES}
    found = load_transfer(model, branches=branches, **options)
    assert set(found.config.kinds) == set(kinds)
    assert found.config.negative_prompt == NEGATIVE_PROMPT
    pack_transfer(tmp_path / "p", model=model, branches=branches, tokenizer=tmp_path / "vae", changes=changes)
    again = video(load_transfer(tmp_path / "p", **FILES), kinds=kinds, size=(32, 48), prompt=None)
    np.testing.assert_array_equal(video(found, kinds=kinds, size=(32, 48), prompt=None), again)


def test_released_networks_are_sampled_as_released(tmp_path):
    save_controls(parts(config=DIT), tmp_path / "ours")
    save_tokenizer(tiny_wan(), tmp_path / "vae")
    config = load_transfer(tmp_path / "ours", tokenizer=tmp_path / "vae", **FILES).config
    assert config.sampling == SAMPLING["transfer2.5-2b"]
    assert (config.sampling.guidance, config.sampling.schedule, config.sampling.known_time) == (3.0, "linear", None)
    assert (config.chunk, config.size, (960, 704) in config.sizes) == (93, (704, 1280), True)


def test_mistakes_are_named(exports, tmp_path, separate):
    edge = {"edge": exports / "edge"}
    wrong = tmp_path / "wrong"
    separate.save_pretrained(wrong)
    cases = [
        ({"model": exports / "base"}, "holds no control branches: give them"),
        ({"model": exports / "edge"}, "edge is a control branch alone: give its transformer as the model"),
        ({"model": "transfr"}, "unknown transfer 'transfr'"),
        ({"model": exports / "base", "branches": {"egde": exports / "edge"}}, "'egde'"),
        ({"model": exports / "base", "branches": {"blur": exports / "edge"}}, "no blur branch"),
        ({"model": wrong, "branches": edge}, "the branches edge would stand beside those"),
        ({"model": exports / "base", "branches": edge, "changes": {"chunks": 3}}, "did you mean 'chunk'"),
        (
            {"model": exports / "base", "branches": edge, "changes": {**SETTINGS, "views": ("a", "b", "c")}},
            "side by side",
        ),
        ({"model": exports / "base", "branches": edge}, "no released network: say the size and chunk"),
        ({"model": exports / "base", "branches": edge, "changes": {"size": (16, 32)}}, "say the chunk that it was"),
        ({"model": exports / "annotator"}, "describes 'annotator'"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            load_transfer(**options, **FILES)
    other = replace(SMALL, model_channels=72)
    save_branch("blur", parts(("blur",), other).branches["blur"], tmp_path / "wide")
    with pytest.raises(ValueError, match="transformer of model_channels=72, this one has 48"):
        load_transfer(exports / "base", branches={"blur": tmp_path / "wide"}, **FILES)


def test_damaged_folders_are_named(separate, tmp_path):
    separate.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    stated = json.loads(config.read_text())
    for change, message in (
        ({"format": 2}, "has format 2; this version reads 1"),
        ({"chunk": 0}, "a chunk of 0 frames"),
        ({"eyes": 1}, "unknown field 'eyes'"),
    ):
        config.write_text(json.dumps({**stated, **change}))
        with pytest.raises(ValueError, match=message):
            load_transfer(tmp_path, **FILES)
    config.write_text(json.dumps(stated)[:-9])
    with pytest.raises(ValueError, match="not valid JSON"):
        load_transfer(tmp_path, **FILES)
    config.write_text(json.dumps(stated))
    assert is_transfer(tmp_path)
    weights = tmp_path / "controls" / "edge" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ValueError, match="controls/edge"):
        load_transfer(tmp_path, **FILES)
