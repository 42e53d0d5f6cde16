"""Judges that look at pictures: a server of this process, and a tiny network."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from chat_server import said
from PIL import Image
from tiny_vlm import WORDS, tiny_vlm

from cosmos_sim.data.chat import ChatModel
from cosmos_sim.synthesis.judge_vlm import ChatJudge, HubJudge, Look, find_judge

_GENERATOR = np.random.default_rng(0)
FRAMES = {
    "front": _GENERATOR.integers(0, 256, (7, 20, 30, 3), np.uint8),
    "wrist": _GENERATOR.integers(0, 256, (7, 40, 24, 3), np.uint8),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_vlm(tmp_path_factory.mktemp("vlm") / "tiny")


def test_a_video_is_shown_in_moments_of_all_cameras():
    images = Look(moments=3).images(FRAMES)
    assert [image.shape for image in images] == [(260, 13 * (30 + 12), 3)] * 3  # 20 rows, of which 13 times make 256
    still = {camera: np.broadcast_to(np.uint8(k * 9), (7, 20, 30, 3)) for k, camera in enumerate(FRAMES, 1)}
    (image, *_) = Look(moments=3).images(still)
    assert (image[:, :300] == 9).all()  # enlarging blends what is near the seam
    assert (image[:, 480:] == 18).all()
    numbered = {"front": np.arange(7, dtype=np.uint8)[:, None, None, None] * np.ones((1, 300, 400, 3), np.uint8)}
    assert [int(image[0, 0, 0]) for image in Look(moments=4).images(numbered)] == [0, 2, 4, 6]
    assert len(Look(moments=20).images(numbered)) == 7
    with pytest.raises(ValueError, match="no camera 'top', only front, wrist"):
        Look(cameras=("top",)).images(FRAMES)
    with pytest.raises(ValueError, match="2 moments or more, got 1"):
        Look(moments=1)


def test_a_grid_reads_row_by_row():
    numbered = {"front": np.arange(1, 6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 256, 300, 3), np.uint8)}
    (image,) = Look(moments=5, grid=True).images(numbered)
    assert image[::256, ::300, 0].tolist() == [[1, 2, 3], [4, 5, 0]]
    assert "This image shows 5 moments of a video, row by row" in Look(5, grid=True).words(numbered, "lift")


def test_a_model_behind_an_address_is_shown_the_video_and_asked(serve):
    scores = {"reason": "It pushes.", "following": 25, "physics": 90.5}
    server = serve(lambda *_: (200, said(f"```json\n{json.dumps(scores)}\n```")))
    found = ChatJudge(ChatModel("tiny", server.url), Look(moments=2)).judge(FRAMES, "赤い cube", seed=4)
    assert (found.following, found.physics, found.reason) == (0.25, 0.905, "It pushes.")
    (body,) = server.bodies
    *shown, question = body["messages"][0]["content"]
    assert body["seed"] == 4
    for part, image in zip(shown, Look(moments=2).images(FRAMES), strict=True):
        data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), image)
    for words in ("told: '赤い cube'", "2 moments", "front, wrist side by side"):
        assert words in question["text"]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("It looks fine.", "holds no JSON object"),
        ('{"following": 3}', "physics must be a number from 0 to 100, got None"),
        ('{"following": 130, "physics": 1}', "following must be a number from 0 to 100, got 130"),
        ('{"following": true, "physics": 1}', "got True"),
        ('{"following": 1, "physics": NaN}', "got nan"),
        ('{"following": 1, "physics": 2, "reason": 3}', "reason must be a text, got 3"),
    ],
)
def test_an_answer_that_cannot_be_used_is_told(serve, reply, words):
    server = serve(lambda *_: (200, said(reply)))
    with pytest.raises(ValueError, match=f"no usable reply in 3 attempts: .*{words}"):
        ChatJudge(ChatModel("tiny", server.url), Look(moments=2)).judge(FRAMES, "lift", seed=0)
    assert words in server.bodies[1]["messages"][0]["content"][-1]["text"]


def test_a_network_judges_by_its_probability_of_yes(model):
    from transformers import LlavaForConditionalGeneration, LlavaProcessor

    judge = HubJudge(str(model), Look(moments=3), device="cpu")
    images = judge.look.images(FRAMES)
    processor = LlavaProcessor.from_pretrained(model)
    network = LlavaForConditionalGeneration.from_pretrained(model).eval()
    text = "user : " + "<image> " * 3 + "lift the red cube ?"
    inputs = processor(text=text, images=[Image.fromarray(image) for image in images], return_tensors="pt")
    with torch.no_grad():
        chances = network(**inputs).logits[0, -1].softmax(0)
    yes, no = (chances[[WORDS.index(word) for word in words]].sum() for words in (("yes", "Yes"), ("no",)))
    assert judge.chance_of_yes("lift the red cube ?", images) == pytest.approx(float(yes / (yes + no)), rel=1e-4)


def test_a_networks_scores_follow_frames_and_words(model):
    judge = HubJudge(str(model), Look(moments=3), device="cpu")
    base = judge.judge(FRAMES, "lift the red cube", seed=0)
    assert base == judge.judge(FRAMES, "lift the red cube", seed=1)
    assert base.following != base.physics
    assert f"{base.following:.2f}" in base.reason
    assert judge.judge(FRAMES, "push the blue cube").following != base.following
    backwards = {camera: video[::-1] for camera, video in FRAMES.items()}
    assert judge.judge(backwards, "lift the red cube").following != base.following


def test_a_network_judges_in_bf16_nearly_the_same(model):
    whole, half = (
        HubJudge(str(model), Look(moments=3), device="cpu", dtype=dtype).judge(FRAMES, "lift the red cube")
        for dtype in ("float32", "bfloat16")
    )
    assert half.following != whole.following
    assert (half.following, half.physics) == pytest.approx((whole.following, whole.physics), abs=0.03)


def test_networks_that_cannot_judge_are_named(model, tmp_path):
    with pytest.raises(ValueError, match="has no template for conversations"):
        HubJudge(str(tiny_vlm(tmp_path / "plain", template=None)), device="cpu").judge(FRAMES, "lift")
    mute = tuple(word if word != "no" else "nay" for word in WORDS)
    with pytest.raises(ValueError, match=r"no tokens for yes \(\[5, 6\]\) and no \(\[\]\)"):
        HubJudge(str(tiny_vlm(tmp_path / "mute", words=mute)), device="cpu").judge(FRAMES, "lift")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no processor"):
        HubJudge(str(tmp_path / "empty"), device="cpu").judge(FRAMES, "lift")
    (model.parent / "torn").mkdir()
    for file in model.iterdir():
        content = file.read_bytes()
        (model.parent / "torn" / file.name).write_bytes(content[:99] if file.suffix == ".safetensors" else content)
    with pytest.raises(ValueError, match="holds no weights of AutoModelForImageTextToText"):
        HubJudge(str(model.parent / "torn"), device="cpu").judge(FRAMES, "lift")


def test_judges_by_name(model, serve):
    server = serve(lambda *_: (200, {"data": [{"id": "served"}]}))
    assert find_judge(server.url) == ChatJudge(ChatModel("served", server.url), Look())
    assert find_judge(f"{server.url}#other", Look(3)) == ChatJudge(ChatModel("other", server.url), Look(3))
    found = find_judge(str(model), device="cpu")
    assert isinstance(found, HubJudge)
    assert found.dtype == torch.float32
    with pytest.raises(ValueError, match="the judge 'org/absent' is not here; get it with: hf download org/absent"):
        find_judge("org/absent")
