"""The paper's stages as presets: table 4 and section 4, by hand."""

from dataclasses import replace

import pytest

from cosmos_sim.world_model.recipes.stages import SIZES, STAGES, Stage, shift_for, stage, training
from cosmos_sim.world_model.rope import resolution_ratio


def test_table_4():
    """Width x height and frames of the paper's rows, in their order."""
    rows = [(s.sizes[0][::-1], s.frames, s.images < 1) for s in map(stage, ("image-256p", "256p", "480p", "720p"))]
    assert rows == [
        ((320, 192), 1, False),
        ((320, 192), 93, True),
        ((832, 480), 93, True),
        ((1280, 704), 93, True),
    ]
    last = stage("text2world")
    assert (last.sizes[0], last.frames, last.known) == ((704, 1280), 93, (0.5, 0.25, 0.25))
    assert stage("720p").known[0] == 0, "text-to-world comes last"
    assert all(s.text_dropout == 0.2 for s in STAGES.values())
    assert [stage(name).shift for name in ("256p", "480p", "720p", "text2world")] == [1, 3, 5, 5]


def test_post_training():
    """Domain SFT: 30k iterations of 256. Actions: 13 frames of 256x320 from one latent."""
    assert (training("sft", "predict2.5-2b").steps, stage("sft").batch_size) == (30_000, 256)
    action = stage("action")
    assert (action.sizes, action.frames, action.known, action.actions) == (((256, 320),), 13, (0.0, 1.0), True)
    assert training("action", "predict2.5-14b").lr == 2**-14.5
    assert training("action", "small").lr == training("256p", "small").lr
    cooldown = training("cooldown", "predict2.5-14b")
    assert (cooldown.lr, cooldown.final_lr, cooldown.warmup, cooldown.decay) == (1.3e-5, 0.0, 0, "linear")


def test_hyperparameters():
    """Section 4.1, and the released code's schedule, clipping and average."""
    small, large = (training("text2world", name) for name in ("predict2.5-2b", "predict2.5-14b"))
    assert (small.lr, large.lr) == (3e-5, 1.3e-5)
    assert (small.betas, small.weight_decay, small.eps, small.warmup) == ((0.9, 0.999), 1e-3, 1e-8, 2000)
    assert (small.start_lr, small.final_lr, small.decay_steps, small.grad_clip) == (0.99, 0.4, 400_000, 0.1)
    assert (small.ema_kind, small.ema) == ("power", 0.1)
    assert training("256p", "predict2.5-2b-action") == small


def test_the_shift_grows_with_the_resolution():
    assert shift_for((192, 320)) == 1
    assert shift_for((704, 1280)) == pytest.approx(5)
    assert shift_for((480, 832)) == pytest.approx(stage("480p").shift, abs=0.1)
    assert shift_for((32, 48)) == 1, "never towards the data"
    by_pixels = sorted((h * w, shift_for((h, w))) for sizes in SIZES.values() for h, w in sizes)
    assert [shift for _, shift in by_pixels] == sorted(shift for _, shift in by_pixels)


@pytest.mark.parametrize("name", STAGES)
def test_every_size_fits_network_and_tokenizer(name):
    for height, width in stage(name).sizes:
        assert (height % 16, width % 16) == (0, 0)
        if stage(name).rope_ratio is not None and (height, width) == stage(name).sizes[0]:
            assert stage(name).rope_ratio == resolution_ratio(height, width)
    assert (stage(name).frames - 1) % 4 == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 1}, "images=0.5"),
        ({"images": 1.0}, "frames=93 would be ignored"),
        ({"images": 1.5}, "1.5"),
        ({"actions": True}, "images must be 0"),
        ({"known": (0.5, 0.6)}, r"\(0.5, 0.6\)"),
        ({"known": (1.5, -0.5)}, "-0.5"),
        ({"text_dropout": -0.1}, "-0.1"),
        ({"batch_size": 0}, "batch_size"),
        ({"sizes": ()}, "at least one size"),
    ],
)
def test_impossible_stages(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(Stage(), **changes)


def test_unknown_names():
    with pytest.raises(ValueError, match="did you mean '480p'"):
        stage("480")
    with pytest.raises(ValueError, match=r"did you mean 'predict2\.5-14b'"):
        training("480p", "predict2.5-14")
    with pytest.raises(ValueError, match="unknown stage"):
        training("sftt!", "small")
