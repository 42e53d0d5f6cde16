import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_predict import DIT, SIZE, WordText, images, tiny_dit, tiny_wan
from tiny_transfer import tiny_controlled, tiny_transfer, tiny_views_transfer

from cosmos_sim.data.images import stretch
from cosmos_sim.world_model.anchor import Anchor
from cosmos_sim.world_model.control_weights import Control, token_weights
from cosmos_sim.world_model.denoise import SamplingConfig, denoise
from cosmos_sim.world_model.request import NEGATIVE_PROMPT
from cosmos_sim.world_model.sampler import seeded_noise
from cosmos_sim.world_model.transfer import ControlVideo, Transfer
from cosmos_sim.world_model.views import split_views

PROMPT = "a robot arm over a blue table"


def video(transfer: Transfer, controls, **options) -> np.ndarray:
    return np.concatenate([*transfer.translate(controls, **{"prompt": PROMPT, "seed": 3, **options})])


def backwards(frames: np.ndarray, start: int, count: int) -> np.ndarray:
    """Frames from ``start`` on of the video followed by itself played backwards and forwards, written out."""
    turned = [*frames, *frames[-2::-1], *frames[1:]] if len(frames) > 1 else [*frames] * (start + count)
    return np.stack(turned[start : start + count])


@pytest.mark.parametrize("total", [1, 4, 9, 11, 20])
def test_a_video_is_its_chunks_stitched_by_hand(total):
    """Each chunk from the noise of seed + i, its own part of the controls, and the frame before; cut to the length."""
    edges, blurred, mask = images(total, seed=1), images(total, seed=2), np.zeros((total, *SIZE), np.float32)
    mask[:, 8:24, 16:40] = 1
    given = {"edge": ControlVideo(edges, 0.7), "blur": ControlVideo(blurred, 1.5, mask)}
    found = [*tiny_transfer().translate(given, prompt=PROMPT, seed=3)]
    dit, wan = tiny_controlled(("edge", "blur")), tiny_wan()
    context, negative = WordText().encode([PROMPT, NEGATIVE_PROMPT]).split(1)
    expected: list[np.ndarray] = []
    chunks = 0
    while len(expected) < total:
        start = 8 * chunks

        def encoded(frames: np.ndarray) -> torch.Tensor:
            return wan.encode(torch.from_numpy(frames[None]))

        where = token_weights(torch.from_numpy(backwards(mask, start, 9)), tokens=(3, 2, 3))[None]
        controls = {
            "edge": Control(encoded(backwards(edges, start, 9)), 0.7),
            "blur": Control(encoded(backwards(blurred, start, 9)), 1.5, where),
        }
        latent = denoise(
            dit.bound(controls),
            seeded_noise((1, 4, 3, 4, 6), 3 + chunks),
            SamplingConfig(steps=2, guidance=1.0),
            known=encoded(expected[-1][None]) if expected else None,
            context=context,
            negative=negative,
        )
        expected += [*wan.decode(latent)[0].numpy()][bool(expected) :]
        chunks += 1
    assert len(found) == chunks == tiny_transfer().chunks(total)
    np.testing.assert_array_equal(np.concatenate(found), np.stack(expected)[:total])


def test_overlaps_of_several_latents():
    frames, wan = images(19, seed=1), tiny_wan()
    parts = [*tiny_transfer().translate({"edge": ControlVideo(frames)}, prompt=PROMPT, seed=0, overlap=5)]
    assert [len(part) for part in parts] == [9, 4, 4, 2]
    second = Control(wan.encode(torch.from_numpy(frames[None, 4:13])))
    latent = denoise(
        tiny_controlled(("edge",)).bound({"edge": second}),
        seeded_noise((1, 4, 3, 4, 6), 1),
        SamplingConfig(steps=2, guidance=1.0),
        known=wan.encode(torch.from_numpy(parts[0][None, -5:])),
        context=WordText().encode([PROMPT]),
        negative=WordText().encode([NEGATIVE_PROMPT]),
    )
    np.testing.assert_array_equal(parts[1], wan.decode(latent)[0, 5:].numpy())
    with pytest.raises(ValueError, match="chunk_overlap=3 makes no whole latents: 1, 5"):
        tiny_transfer().translate({"edge": ControlVideo(frames)}, prompt=PROMPT, seed=0, overlap=3)


def test_without_weight_it_is_the_base():
    """Bit for bit, whether a control weighs 0, counts nowhere, or stands beside one that is not there."""
    frames, none = images(9, seed=1), np.zeros((9, *SIZE), np.float32)
    found = [
        video(tiny_transfer(), given)
        for given in (
            {"edge": ControlVideo(frames, 0.0)},
            {"blur": ControlVideo(images(9, seed=2), mask=none)},
            {"edge": ControlVideo(frames, 0.0), "blur": ControlVideo(frames, 0.0)},
        )
    ]
    context, negative = WordText().encode([PROMPT, NEGATIVE_PROMPT]).split(1)
    sampling = SamplingConfig(steps=2, guidance=1.0)
    latent = denoise(tiny_dit(), seeded_noise((1, 4, 3, 4, 6), 3), sampling, context=context, negative=negative)
    for frames in found:
        np.testing.assert_array_equal(frames, tiny_wan().decode(latent)[0].numpy())
    assert np.abs(video(tiny_transfer(), {"edge": ControlVideo(images(9, seed=1))}).astype(int) - found[0]).mean() > 1


def test_sizes_go_in_and_come_out():
    """A video of another size is stretched to the trained one whose shape is nearest, and what is made is back."""
    transfer = tiny_transfer(sizes=((48, 32),))
    assert transfer.size_for(90, 60) == (48, 32)
    assert transfer.size_for(60, 90) == SIZE
    tall = images(5, (66, 44), seed=1)
    found = video(transfer, {"edge": ControlVideo(tall)})
    assert found.shape == tall.shape
    same = video(transfer, {"edge": ControlVideo(stretch(tall, (48, 32)))})
    np.testing.assert_array_equal(found, stretch(same, (66, 44)))
    np.testing.assert_array_equal(
        found, video(transfer, {"edge": ControlVideo(stretch(tall, (48, 32)))}, size=(66, 44))
    )


def test_views_share_a_frame():
    transfer = tiny_views_transfer()
    frames = images(7, (16, 32), seed=1)
    found = video(transfer, {"edge": ControlVideo(frames)})
    assert found.shape == (7, 16, 32, 3)
    assert transfer.views is not None
    parts = split_views(found, transfer.views)
    np.testing.assert_array_equal(np.concatenate([parts["agentview"], parts["wrist"]], axis=2), found)


def test_guidance_steps_and_prompts_are_heard():
    edges = {"edge": ControlVideo(images(9, seed=1))}
    plain = video(tiny_transfer(), edges)
    for change in ({"guidance": 4.0}, {"steps": 3}, {"prompt": "red"}, {"negative_prompt": "dark"}, {"seed": 4}):
        assert np.abs(video(tiny_transfer(), edges, **change).astype(int) - plain).mean() > 0.5, change
    np.testing.assert_array_equal(video(tiny_transfer(), edges, negative_prompt=NEGATIVE_PROMPT), plain)
    seen = []
    video(tiny_transfer(), {"edge": ControlVideo(images(11))}, steps=3, watch=lambda c, i, x: seen.append((c.index, i)))
    assert seen == [(c, i) for c in range(2) for i in range(3)]


def test_a_source_that_is_kept_and_begun_from():
    """As denoise is told of it, chunk by chunk."""
    source, keep = images(11, seed=5), np.zeros((11, *SIZE), np.float32)
    keep[:, :, :24] = 1
    controls = {"edge": ControlVideo(images(11, seed=1))}
    found = [*tiny_transfer().translate(controls, prompt=PROMPT, seed=3, source=source, keep=keep, sigma_max=0.6)]
    wan, known = tiny_wan(), None
    for i, frames in enumerate(found):
        window = slice(0, 9) if i == 0 else np.array([8, 9, 10, 9, 8, 7, 6, 5, 4])
        latent = denoise(
            tiny_controlled(("edge",)).bound(
                {"edge": Control(wan.encode(torch.from_numpy(images(11, seed=1)[None, window])))}
            ),
            seeded_noise((1, 4, 3, 4, 6), 3 + i),
            SamplingConfig(steps=2, guidance=1.0),
            known=known,
            context=WordText().encode([PROMPT]),
            negative=WordText().encode([NEGATIVE_PROMPT]),
            anchor=Anchor(
                wan.encode(torch.from_numpy(source[None, window])),
                sigma_max=0.6,
                keep=token_weights(torch.from_numpy(keep[window]), tokens=(3, 4, 6))[None, None],
            ),
        )
        shown = wan.decode(latent)[0].numpy()
        np.testing.assert_array_equal(frames, shown[:9] if i == 0 else shown[1:3])
        known = wan.encode(torch.from_numpy(shown[None, -1:]))
    shown = wan.decode(wan.encode(torch.from_numpy(source[None, :9])))[0].numpy().astype(int)
    first = {"edge": ControlVideo(images(9, seed=1))}
    near, far = (
        np.abs(video(tiny_transfer(), first, source=source[:9], sigma_max=s) - shown).mean() for s in (0.01, 0.9)
    )
    assert near < 2 < far


def test_a_style_image_is_checked_before_anything_is_made():
    tiny = tiny_transfer()
    config = replace(tiny.config, dit=replace(DIT, image_dim=6))
    transfer = Transfer(config, dit=torch.nn.Identity, tokenizer=tiny_wan, text=tiny.text, device=tiny.device)
    for shape in ((1, 2, 4), (2, 3, 6), (3, 6)):
        with pytest.raises(ValueError, match=r"image_context has shape .*, expected \(1, 'any', 6\)"):
            transfer.translate(
                {"edge": ControlVideo(images(5))}, prompt=PROMPT, seed=0, image_context=torch.zeros(shape)
            )


def test_a_source_is_kept_for_as_many_steps_as_released():
    source, keep = images(5, seed=5), np.ones((5, *SIZE), np.float32)
    edges, told = {"edge": ControlVideo(images(5, seed=1))}, {"source": source, "keep": keep, "steps": 27}
    usual, early, late = (
        video(tiny_transfer(), edges, **told, **more) for more in ({}, {"keep_steps": 25}, {"keep_steps": 26})
    )
    np.testing.assert_array_equal(usual, early)
    assert (usual != late).any()


def test_memory_does_not_grow_with_the_video():
    """Of five chunks none stays but the last frame of one, and the tensors alive are as many after each."""
    transfer, seen, alive, tensors = tiny_transfer(), [], [], []
    others = [x for x in gc.get_objects() if type(x) is torch.Tensor]  # held: none may go meanwhile
    for part in transfer.translate({"edge": ControlVideo(images(9 + 4 * 8))}, prompt=PROMPT, seed=0, steps=1):
        seen.append(weakref.ref(part))
        del part
        alive.append(sum(ref() is not None for ref in seen))
        if len(seen) in (2, 5):
            gc.collect()
            tensors.append(sum(x.numel() for x in gc.get_objects() if type(x) is torch.Tensor))
    assert len(seen) == 5
    assert max(alive) <= 2
    assert tensors[0] == tensors[1]
    del others


def test_low_vram_gives_the_same():
    edges = {"edge": ControlVideo(images(11, seed=1))}
    both, single = (video(tiny_transfer(low_vram=flag), edges, watch=lambda *told: None) for flag in (False, True))
    np.testing.assert_array_equal(both, single)


@pytest.mark.parametrize(
    ("controls", "options", "message"),
    [
        ({"egde": {}}, {}, "no branch for the control 'egde': did you mean 'edge'"),
        ({"depth": {}}, {}, "no branch for the control 'depth'"),
        ({}, {}, "at least one control"),
        ({"edge": {}, "blur": {"frames": images(8)}}, {}, r"unequal shapes.*'blur': \(8, 32, 48\)"),
        ({"edge": {}}, {"seed": -1}, "seed must lie in"),
        ({"edge": {}}, {"guidance": 0, "negative_prompt": "dark"}, "negative_prompt='dark' would be ignored"),
        ({"edge": {}}, {"keep": np.zeros((5, *SIZE))}, "need the source"),
        ({"edge": {}}, {"sigma_max": 0.5}, "need the source"),
        ({"edge": {}}, {"source": images(5)}, "the source would be ignored"),
        ({"edge": {}}, {"source": images(5), "sigma_max": 80}, r"in \(0, 1\], not 80; a ratio .* 80 is 0\.988"),
        ({"edge": {}}, {"source": images(5), "keep": np.zeros((5, 4, 4))}, r"keep has shape \(5, 4, 4\)"),
        ({"edge": {}}, {"source": images(5), "keep": np.full((5, *SIZE), 2)}, r"between 0 and 1, not in 2 \.\. 2"),
        ({"edge": {}}, {"keep_steps": 25}, "keep_steps=25 would be ignored"),
        ({"edge": {}}, {"source": images(5), "keep": np.zeros((5, *SIZE)), "keep_steps": -1}, "0 or more, not -1"),
        ({"edge": {}}, {"image_context": torch.zeros(1, 2, 4)}, "image_context would be ignored"),
        ({"edge": {}}, {"overlap": 9}, "9 for a chunk leaves nothing"),
        ({"edge": {}}, {"size": (0, 4)}, "size must be positive, not 0 x 4"),
        ({"edge": {"frames": images(5).astype(np.float32)}}, {}, "must be uint8 t h w 3, not float32"),
        ({"edge": {"weight": -1.0}}, {}, r"not negative, not -1\.0"),
        ({"edge": {"mask": np.zeros((4, *SIZE))}}, {}, r"mask has shape \(4, 32, 48\)"),
    ],
)
def test_mistakes_are_named_before_anything_is_made(controls, options, message):
    def never() -> torch.nn.Module:
        raise AssertionError("made before everything was checked")

    tiny = tiny_transfer()
    transfer = Transfer(tiny.config, dit=never, tokenizer=never, text=tiny.text, device=tiny.device)
    with pytest.raises(ValueError, match=message):
        transfer.translate(
            {kind: ControlVideo(**{"frames": images(5), **how}) for kind, how in controls.items()},
            **{"prompt": PROMPT, "seed": 0, **options},
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": (32, 40)}, "32 x 40 is no multiple of 16"),
        ({"sizes": ((8, 48),)}, "8 x 48 is no multiple of 16"),
        ({"views": ("a", "b", "c", "d", "e")}, "do not stand side by side"),
        ({"views": ("a", "b"), "sizes": ((48, 32),)}, "do not stand side by side"),
        ({"chunk": 10}, r"10 frames makes no whole latents of 1 \+ 4 n"),
        ({"chunk": 1}, r"1 frames makes no whole latents of 1 \+ 4 n, n > 0"),
    ],
)
def test_configs_that_no_video_fits(change, message):
    with pytest.raises(ValueError, match=message):
        replace(tiny_transfer().config, **change)


def test_a_nan_is_told_with_its_chunk():
    transfer = tiny_transfer()
    with torch.no_grad():
        transfer.parts.use("dit").base.final_layer.linear.weight[0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="chunk 1 of 2: evaluation 1 of 2"):
        video(transfer, {"edge": ControlVideo(images(11))})
