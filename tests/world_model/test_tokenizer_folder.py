"""Where tokenizers are found."""

import pytest
import torch

from cosmos_sim.data.pretrained import shipped
from cosmos_sim.world_model.tiles import Tiling
from cosmos_sim.world_model.tokenizer_folder import load_tokenizer, open_tokenizer, save_tokenizer
from cosmos_sim.world_model.world import read_networks


def test_a_small_world_holds_its_tokenizer(tmp_path):
    """Also by itself, and in the folder of a network; but what is exported as a tokenizer is one, not a world."""
    folder = shipped("world")["lift"]
    expected = read_networks(folder).tokenizer
    save_tokenizer(open_tokenizer(folder), tmp_path / "tokenizer")
    for found in (open_tokenizer(folder), open_tokenizer(tmp_path / "tokenizer"), open_tokenizer(tmp_path)):
        assert found.config == expected.config
        for name, tensor in expected.state_dict().items():
            assert torch.equal(found.state_dict()[name], tensor), name
    with pytest.raises(ValueError, match="would be ignored"):
        open_tokenizer(folder, tiling=Tiling())
    with pytest.raises(ValueError, match="describes kind='world', not a tokenizer"):
        load_tokenizer(folder)
