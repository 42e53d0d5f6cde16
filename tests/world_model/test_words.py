"""Words without weights: neighbours bind, and a network's own words are known."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from cosmos_sim.data.word_vectors import WordsConfig, word_vector
from cosmos_sim.world_model.text import TextConditioner
from cosmos_sim.world_model.words import FOLDER, Words, find_words

SCENE = "a robot arm over a table. on the table rest a red cube and a grey dish."
SMALL = WordsConfig(length=20, neighbours=2, word=32)


def test_a_token_is_a_word_between_its_neighbours():
    """Zeros beyond the ends of a sentence, and after the last word."""
    encoder = Words(SMALL)
    (rows,) = encoder.encode(["Stack red cubes. Now!"]).unflatten(-1, (5, 32)).numpy()
    stack, red, cubes, now = (word_vector(word, 32) for word in ("stack", "red", "cubes", "now"))
    none = np.zeros(32, np.float32)
    np.testing.assert_array_equal(rows[0], [none, none, stack, red, cubes])
    np.testing.assert_array_equal(rows[1], [none, stack, red, cubes, none])
    np.testing.assert_array_equal(rows[2], [stack, red, cubes, none, none])
    np.testing.assert_array_equal(rows[3], [none, none, now, none, none])
    assert not rows[4:].any()


def test_which_thing_has_which_colour_is_told():
    encoder = Words(SMALL)
    bags = []
    for text in ("a red cube and a grey dish", "a grey cube and a red dish"):
        tokens = encoder.encode([text])[0]
        bags.append({tuple(token.tolist()) for token in tokens})
    assert len(bags[0] & bags[1]) <= 2, "zeros, and perhaps one more"


def test_what_is_too_long_is_cut_and_said():
    encoder = Words(replace(SMALL, length=9))
    with pytest.warns(UserWarning, match="the last 8 of its 17 words are cut off"):
        cut = encoder.encode([SCENE])
    assert torch.equal(cut[0, :5], Words(SMALL).encode([SCENE])[0, :5])
    assert cut.shape == (1, 9, 160)


def test_foreign_words_are_warned_of():
    encoder = Words(SMALL.knowing([SCENE, "a blue cube"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode(["a blue dish on a grey table"])
        Words(SMALL).encode(["anything goes"])
    with pytest.warns(UserWarning, match="has the words 'frog', 'purple'"):
        encoder.encode(["a purple frog"])
    assert torch.equal(encoder.encode(["a cube"]), Words(SMALL).encode(["a cube"]))


def test_a_network_keeps_its_encoder(tmp_path):
    config = SMALL.knowing([SCENE])
    assert find_words(tmp_path) is None
    Words(config).save_pretrained(tmp_path / FOLDER)
    found = find_words(tmp_path)
    assert found is not None
    assert found.config == config
    assert config.knowing(["a frog"]).vocabulary == tuple(sorted({*config.vocabulary, "frog"}))
    (tmp_path / FOLDER / "config.json").write_text('{"kind": "words", "words": {"lenght": 3}}')
    with pytest.raises(ValueError, match="lenght"):
        find_words(tmp_path)


def test_text_left_out_is_zeros():
    conditioner = TextConditioner(Words(SMALL))
    rows = conditioner.encode([None, "a cube"])
    assert not rows[0].any()
    assert torch.equal(rows[1], Words(SMALL).encode(["a cube"])[0])
    assert "vocabulary" not in Words(SMALL.knowing([SCENE])).identity()


@pytest.mark.parametrize("changes", [{"length": 0}, {"neighbours": -1}, {"word": 12}, {"word": 520}])
def test_sizes_that_cannot_be(changes):
    ((name, value),) = changes.items()
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        replace(SMALL, **changes)
