"""Instructions as vectors: which words are looked at, what ``info["task"]`` must be, and where words are missing."""

import warnings

import numpy as np
import pytest
import torch
from scipy.special import softmax

from cosmos_sim.data.word_vectors import WordsConfig
from cosmos_sim.policies.encoder import EncoderConfig, ObservationEncoder
from cosmos_sim.policies.language import HEADS, InstructionEncoder, embed, instructions, warn_of_tasks

WORDS = WordsConfig(length=9, neighbours=1, word=16)


def test_words_are_pooled_by_attention_within_the_sentence():
    """Written out in NumPy for a text of three words, of which the other six tokens say nothing."""
    encoder = InstructionEncoder(WORDS, 5)
    found = encoder(embed(["lift the can", "lift"], WORDS)).detach().numpy()
    weights = {name: value.numpy() for name, value in encoder.state_dict().items()}
    words = WORDS.tokens("lift the can")[:3]
    attention = softmax(words @ weights["score.weight"].T + weights["score.bias"], axis=0)
    values = (words @ weights["value.weight"].T + weights["value.bias"]).reshape(3, HEADS, 5)
    pooled = (attention[:, :, None] * values).sum(0).reshape(-1)
    np.testing.assert_allclose(found[0], weights["out.weight"] @ pooled + weights["out.bias"], rtol=1e-4, atol=1e-5)
    alone = (WORDS.tokens("lift")[:1] @ weights["value.weight"].T + weights["value.bias"]).reshape(-1)
    np.testing.assert_allclose(found[1], weights["out.weight"] @ alone + weights["out.bias"], rtol=1e-4, atol=1e-5)


def test_who_is_put_where_is_told():
    encoder = InstructionEncoder(WORDS, 5)
    texts = ["put the can on the block", "put the block on the can"]
    vectors = encoder(embed(texts, WORDS))
    assert (vectors[0] - vectors[1]).abs().max() > 1e-2


@pytest.mark.parametrize("image", ["cnn", "vit"])
def test_where_a_policy_looks_depends_on_what_it_is_told(image: str):
    sizes = {"resolution": 32, "crop": 24, "width": 8, "keypoints": 6, "features": 12, "depth": 1}
    encoder = ObservationEncoder(EncoderConfig(("front", "side"), 5, image=image, language=WORDS, **sizes))
    assert encoder.config.dim == 4 * 12
    frames = {c: torch.randint(0, 256, (2, 24, 24, 3), dtype=torch.uint8) for c in ("front", "side")}
    state, texts = torch.randn(2, 5), [embed([text] * 2, WORDS) for text in ("lift the can", "push the block")]
    before = [encoder(frames, state, text=text) for text in texts]
    assert not torch.allclose(before[0][:, 36:], before[1][:, 36:])
    torch.testing.assert_close(before[0][:, 24:36], before[1][:, 24:36])
    if image == "cnn":  # the instruction's effect on the maps begins as none, and is learnt
        torch.testing.assert_close(before[0][:, :24], before[1][:, :24])
        torch.nn.init.normal_(encoder.images[0].block2.film.weight)
    after = [encoder(frames, state, text=text) for text in texts]
    assert not torch.allclose(after[0][:, :12], after[1][:, :12], atol=1e-4)


def test_environments_are_told_one_by_one_or_together():
    assert instructions({"task": "lift the can"}, 2) == ["lift the can"] * 2
    for several in (["a", "b"], ("a", "b"), np.array(["a", "b"]), np.array(["a", "b"], dtype=object)):
        assert instructions({"task": several}, 2) == ["a", "b"]
    with pytest.raises(ValueError, match="does not give"):
        instructions({"seed": 3}, 2)
    with pytest.raises(ValueError, match="each of 3 environments, got 2"):
        instructions({"task": ["a", "b"]}, 3)
    for wrong in (np.array(["a", None], dtype=object), ["a", 7]):
        with pytest.raises(ValueError, match=r"must be text, got (None|7)"):
            instructions({"task": wrong}, 2)


def test_an_instruction_has_words():
    for text in ("", " ... ", "!?"):
        with pytest.raises(ValueError, match="must have words"):
            embed(["lift the can", text], WORDS)
    assert embed(["поднять банку", "抬起罐子"], WORDS).abs().amax((1, 2)).gt(0).all()


def test_words_that_training_did_not_have_are_warned_of():
    known = WORDS.knowing(["lift the can"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embed(["lift the can"], known)
    with pytest.warns(UserWarning, match="has the words 'frog'"):
        embed(["lift the frog"], known)
    with pytest.warns(UserWarning, match="the last 2 of its 11 words are cut off"):
        embed(["lift the can the can the can the can the can"], known)


def test_several_tasks_are_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_tasks(["lift the can"], "read")
    with pytest.warns(UserWarning, match=r"4 tasks \('a', 'b', 'c', \.\.\.\).*cannot know which is meant: read"):
        warn_of_tasks(["a", "b", "c", "d"], "read")
