"""Words without weights: their vectors are for ever, neighbours bind, and a network's own words are known."""

import warnings
from dataclasses import replace
from hashlib import blake2b

import numpy as np
import pytest
import torch

from cosmos_sim.world_model.text import TextConditioner
from cosmos_sim.world_model.words import FOLDER, Words, WordsConfig, find_words, sentences, word_vector

SCENE = "a robot arm over a table. on the table rest a red cube and a grey dish."
SMALL = WordsConfig(length=20, neighbours=2, word=32)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_sentences_are_words_in_lower_case():
    assert sentences("A Robot's arm, over 2.5 m\nof blue-checkered CLOTH! Ça va?; ...") == [
        ["a", "robot's", "arm", "over", "2", "5", "m"],
        ["of", "blue", "checkered", "cloth"],
        ["ça", "va"],
    ]
    assert sentences(" . ") == []


def test_vectors_never_change():
    """Shipped networks have learnt these very numbers: signs of hashes, of a word and of its groups of letters."""
    groups = ["<cu", "cub", "ube", "be>", "<cub", "cube", "ube>", "<cube", "cube>"]

    def signs(text: str) -> np.ndarray:
        (byte,) = blake2b(text.encode(), digest_size=1).digest()
        return np.array([1.0 if byte & (128 >> place) else -1.0 for place in range(8)])

    expected = signs("cube") + sum(signs(group) for group in groups) / 3
    np.testing.assert_allclose(word_vector("cube", 8), expected / np.sqrt(np.mean(expected**2)), rtol=1e-6)
    np.testing.assert_allclose(word_vector("cube", 8)[:4], [1.472919, -1.10469, 0.73646, -1.10469], rtol=1e-5)


def test_words_differ_and_those_spelled_alike_are_alike():
    words = ["red", "green", "grey", "white", "purple", "orange", "cube", "dish", "table", "cloth", "wooden", "lamp"]
    vectors = [word_vector(word, 64) for word in words]
    for vector in vectors:
        assert np.square(vector).mean() == pytest.approx(1, abs=1e-5)
    apart = [abs(cosine(a, b)) for i, a in enumerate(vectors) for b in vectors[:i]]
    assert max(apart) < 0.5, "as those of random vectors"
    assert np.mean(apart) < 0.15
    alike = cosine(word_vector("checkered", 64), word_vector("checkers", 64))
    assert alike > max(apart)
    assert alike < 0.9


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
