"""Requests in, files out, with every network real and tiny."""

import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import tiny_reason1
import torch
from PIL import Image
from tiny_predict import DIT, SIZE, images, tiny_dit, tiny_predict, tiny_wan

from cosmos_sim.cli import main
from cosmos_sim.training.video import write_mp4
from cosmos_sim.world_model.checkpoints.network import Network, save_ours
from cosmos_sim.world_model.checkpoints.stored import held
from cosmos_sim.world_model.denoise import SAMPLING, SamplingConfig
from cosmos_sim.world_model.generate import generate
from cosmos_sim.world_model.load_predict import load_predict
from cosmos_sim.world_model.pipeline import PipelineConfig
from cosmos_sim.world_model.predict import Predict
from cosmos_sim.world_model.request import Request, read_requests

TEXT = Request(name="text", inference_type="text2world", prompt="a robot lifts the cube", num_steps=1)


def read(path: Path) -> np.ndarray:
    with av.open(path) as container:
        assert float(container.streams.video[0].average_rate) == 16
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture
def inputs(tmp_path) -> Path:
    folder = tmp_path / "inputs"
    folder.mkdir()
    Image.fromarray(images(1, (40, 60))[0]).save(folder / "cube.png")
    write_mp4(folder / "arm.mp4", images(7, (36, 64), seed=2), 16)
    write_mp4(folder / "short.mp4", images(4, (36, 64), seed=2), 16)
    (folder / "empty.png").touch()
    (folder / "noise.jpg").write_bytes(bytes(range(256)))
    return folder


def test_text_image_and_video_to_files(tmp_path, inputs):
    pipeline = tiny_predict()
    requests = [
        replace(TEXT, num_output_frames=26),
        replace(TEXT, name="image", inference_type="image2world", input_path=inputs / "cube.png", seed=1),
        replace(TEXT, name="end", inference_type="image2world", input_path=inputs / "arm.mp4", guidance=0),
        replace(TEXT, name="video", inference_type="video2world", input_path=inputs / "arm.mp4", resolution=(48, 32)),
    ]
    written = generate(pipeline, requests, tmp_path / "out", progress=False)
    assert [path.name for path in written] == ["text.mp4", "image.mp4", "end.mp4", "video.mp4"]
    shapes = [read(path).shape for path in written]
    assert shapes == [(26, *SIZE, 3), (13, *SIZE, 3), (13, *SIZE, 3), (13, 48, 32, 3)]
    assert sorted(p.suffix for p in (tmp_path / "out").iterdir()) == [".json"] * 4 + [".mp4"] * 4
    asked = [read_requests(path.with_suffix(".json"))[0] for path in written]
    assert [(r.num_output_frames, r.chunk_size, r.resolution) for r in asked[::3]] == [
        (26, 13, SIZE),
        (13, None, (48, 32)),
    ]
    again = generate(tiny_predict(), [asked[3]], tmp_path / "again", progress=False)
    assert again[0].read_bytes() == written[3].read_bytes()


def test_previews_and_progress(tmp_path, capfd):
    seen = []

    class Peeking(Predict):
        def still(self, latent):
            seen.append(list((tmp_path / "out").glob("*.jpg")))
            return super().still(latent)

    pipeline = tiny_predict(kind=Peeking)
    generate(pipeline, [replace(TEXT, num_output_frames=14, num_steps=4)], tmp_path / "out", preview_every=2)
    assert [len(there) for there in seen] == [0, 1, 1, 1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["text.json", "text.mp4"]
    assert "text, chunk 2 of 2: 100%" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_path": "empty.png"}, "is empty"),
        ({"input_path": "noise.jpg"}, "not a readable image"),
        ({"input_path": "none.png"}, "is missing"),
        ({"input_path": "cube.txt"}, "neither an image"),
        ({"inference_type": "video2world", "input_path": "short.mp4"}, "4 frames"),
        ({"inference_type": "video2world", "input_path": "cube.png"}, "one image"),
        ({"resolution": (32, 50)}, "no multiple of 16"),
    ],
)
def test_nothing_is_begun_when_one_request_is_wrong(tmp_path, inputs, change, message):
    def never() -> torch.nn.Module:
        raise AssertionError("loaded before everything was checked")

    tiny = tiny_predict()
    pipeline = Predict(tiny.config, dit=never, tokenizer=never, text=tiny.text, device=tiny.device)
    wrong = {"inference_type": "image2world", "input_path": "cube.png", **change, "name": "wrong"}
    wrong["input_path"] = inputs / wrong["input_path"]
    with pytest.raises(ValueError, match=f"request 'wrong': .*{message}"):
        generate(pipeline, [TEXT, replace(TEXT, **wrong)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_video_that_fails_leaves_nothing_and_those_before_it_stay(tmp_path):
    class Failing(Predict):
        def still(self, latent):
            raise FloatingPointError("as told")

    pipeline = tiny_predict(kind=Failing)
    with pytest.raises(FloatingPointError, match="as told"):
        generate(pipeline, [TEXT, replace(TEXT, name="b", num_steps=2)], tmp_path, preview_every=2, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.json", "text.mp4"]


def test_no_requests_and_repeated_names(tmp_path):
    with pytest.raises(ValueError, match="there are no requests"):
        generate(tiny_predict(), [], tmp_path)
    with pytest.raises(ValueError, match="2 requests have the name 'text'"):
        generate(tiny_predict(), [TEXT, TEXT], tmp_path)
    with pytest.raises(ValueError, match="preview_every must be 0 or more, not -1"):
        generate(tiny_predict(), [TEXT], tmp_path, preview_every=-1)


def test_an_action_conditioned_network_takes_no_requests():
    with pytest.raises(ValueError, match="see PredictWorld"):
        PipelineConfig(replace(DIT, action_dim=28), SamplingConfig())


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A folder with everything: the network, the VAE, the text encoder."""
    folder = tmp_path_factory.mktemp("model")
    dit = tiny_dit(replace(DIT, context_in_dim=tiny_reason1.WIDTH))
    save_ours(Network(dit.config, {name: held(tensor) for name, tensor in dit.state_dict().items()}), folder / "dit")
    tiny_wan().save_pretrained(folder / "vae")
    tiny_reason1.write(folder / "reason1")
    return folder


def command(model: Path, out: Path, *rest: str) -> list[str]:
    return [
        "generate", "--model", str(model / "dit"), "--tokenizer", str(model / "vae"), "--out", str(out),
        "--text-encoder", str(model / "reason1"), "--sampling", "predict2.5-2b", "--prompt-cache",
        str(model / "prompts"), "--device", "cpu", "--dtype", "float32", *rest,
    ]  # fmt: skip


def test_the_command(model, tmp_path, inputs, capsys):
    asked = [
        {"name": name, "inference_type": "image2world", "prompt": "a cube", "input_path": "cube.png", "num_steps": 1,
         "num_output_frames": 5, "resolution": "32,48"}
        for name in ("one", "two")
    ]  # fmt: skip
    (inputs / "two.jsonl").write_text("\n".join(json.dumps(line) for line in asked))
    main(command(model, tmp_path / "out", "--requests", str(inputs / "two.jsonl"), "--low-vram"))
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / f"{name}.mp4") for name in ("one", "two")]
    assert len(list((model / "prompts").iterdir())) == 2
    single = ["--prompt", "a cube", "--image", str(inputs / "cube.png"), "--size", "32,48", "--steps", "1"]
    main(command(model, tmp_path / "out", *single, "--frames", "5"))
    assert (tmp_path / "out" / "video.mp4").read_bytes() == (tmp_path / "out" / "one.mp4").read_bytes()


def test_mistakes_on_the_command_line(model, tmp_path, inputs, capsys):
    for rest, message in (
        (["--requests", str(inputs / "a.json"), "--seed", "1"], "seed would be ignored"),
        ([], "give a prompt or requests"),
        (["--prompt", "a", "--size", "wide"], "not 'wide'"),
        (["--prompt", "a", "--image", "a.png", "--video", "a.mp4"], "not both"),
        (["--prompt", "a", "--sampling", "predict2.5-2"], "did you mean 'predict2.5-2b'"),
        (["--requests", str(inputs / "noise.jpg")], ".json or .jsonl"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(command(model, tmp_path / "out", *rest))
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_how_a_network_is_sampled_must_be_said_unless_its_size_is_a_released_one(model):
    with pytest.raises(ValueError, match="no released network is 48 wide"):
        load_predict(model / "dit", tokenizer=model / "vae", device="cpu")
    changes = {"guidance_interval": (0.2, 0.9)}
    files = {"tokenizer": model / "vae", "device": "cpu"}
    pipeline = load_predict(model / "dit", **files, sampling="predict2.5-14b", changes=changes)
    assert pipeline.config.sampling == replace(SAMPLING["predict2.5-14b"], **changes)
    assert (pipeline.config.temporal, pipeline.config.spatial) == (4, 8)
