"""Hashed words: their vectors are for ever, and tell words apart."""

from hashlib import blake2b

import numpy as np
import pytest

from cosmos_sim.data.word_vectors import sentences, word_vector


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
