"""Videos in, videos out, by the command line, with every network real and tiny."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from small_transfer import SIZE, VIEWS, write_exports

from cosmos_sim.augmentation.annotator_open import find_annotator
from cosmos_sim.augmentation.control_spec import parse_controls
from cosmos_sim.augmentation.control_videos import control_videos
from cosmos_sim.augmentation.controls import edge
from cosmos_sim.augmentation.transfer_video import Task, transfer_video
from cosmos_sim.cli import main
from cosmos_sim.data.video import read_video
from cosmos_sim.training.video import write_mp4
from cosmos_sim.world_model.control import KINDS
from cosmos_sim.world_model.load_transfer import load_transfer, pack_transfer
from cosmos_sim.world_model.views import join_views, split_views

PROMPT = "a robot arm over a blue table"


def moving(frames: int, size: tuple[int, int], *, seed: int) -> np.ndarray:
    """Coloured boxes that move over a ramp."""
    rng = np.random.default_rng(seed)
    video = np.tile(np.linspace(0, 120, size[1], dtype=np.uint8)[None, None, :, None], (frames, size[0], 1, 3)).copy()
    for colour in rng.integers(60, 256, (3, 3)):
        y, x = rng.integers(0, size[0] - 8), rng.integers(0, size[1] - 16)
        for t, frame in enumerate(video):
            frame[y : y + 8, x + t % 8 : x + t % 8 + 8] = colour
    return video


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A packed world of two cameras."""
    folder = tmp_path_factory.mktemp("transfer")
    exports = write_exports(folder / "exports")
    branches = [f"{kind}={exports / kind}" for kind in KINDS]
    parts = ["--model", str(exports / "base"), "--branches", *branches, "--annotator", str(exports / "annotator")]
    frames = ["--views", *VIEWS, "--size", f"{SIZE[0]},{SIZE[1]}", "--chunk", "5"]
    main(["pack", *parts, *frames, "--steps", "2", "--guidance", "1", "--out", str(folder / "world")])
    return folder / "world"


@pytest.fixture
def videos(tmp_path) -> list[Path]:
    """One of each camera, of unequal sizes, at 10 frames a second."""
    made = [tmp_path / f"{view}_7.mp4" for view in VIEWS]
    for seed, (path, size) in enumerate(zip(made, ((48, 48), (40, 64)), strict=True)):
        write_mp4(path, moving(7, size, seed=seed), 10)
    return made


def run(world: Path, out: Path, videos: list[Path], *options: str) -> None:
    files = ["--video", *map(str, videos), "--model", str(world), "--out", str(out)]
    main(["transfer", *files, "--prompt", PROMPT, "--device", "cpu", "--dtype", "float32", *options])


def test_each_camera_gets_its_video_back(world, videos, tmp_path, capsys):
    """The default controls, of the world's own annotator: as translate gives them, at each camera's own size."""
    run(world, tmp_path / "out", videos, "--seed", "4", "--show-controls")
    names = ["agentview_7.agentview.mp4", "agentview_7.wrist.mp4", "agentview_7.edge.mp4", "agentview_7.blur.mp4"]
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / name) for name in names]
    transfer = load_transfer(world, device="cpu", dtype="float32")
    sources = {view: read_video(path)[0] for view, path in zip(VIEWS, videos, strict=True)}
    reader = find_annotator(str(world / "annotator"), device="cpu")
    specs = parse_controls(["edge", "blur:robot"])
    controls = control_videos(sources, specs, size=SIZE, views=VIEWS, annotators=dict.fromkeys(VIEWS, reader))
    made = np.concatenate([*transfer.translate(controls, prompt=PROMPT, seed=4)])
    sizes = {view: video.shape[1:3] for view, video in sources.items()}
    for view, expected in split_views(made, VIEWS, sizes=sizes).items():
        write_mp4(tmp_path / "expected.mp4", expected, 10)
        found = tmp_path / "out" / f"agentview_7.{view}.mp4"
        assert found.read_bytes() == (tmp_path / "expected.mp4").read_bytes()
        with av.open(found) as container:
            assert float(container.streams.video[0].average_rate) == 10
    said = json.loads((tmp_path / "out" / "agentview_7.json").read_text())
    assert (said["controls"], said["seed"], said["prompt"]) == (
        ["edge@medium:1.0", "blur@very_low:robot:1.0"],
        4,
        PROMPT,
    )


def test_one_video_of_all_cameras(world, videos, tmp_path):
    side = join_views({v: read_video(p)[0] for v, p in zip(VIEWS, videos, strict=True)}, VIEWS, size=(48, 96))
    write_mp4(tmp_path / "both.mp4", side, 12)
    run(world, tmp_path, [tmp_path / "both.mp4"], "--controls", "edge@low:0.5", "seg", "depth:robot:2", "--name", "new")
    frames, fps = read_video(tmp_path / "new.mp4")
    assert (frames.shape, fps) == ((7, 48, 96, 3), 12)


def test_what_is_kept_begun_from_and_given(world, videos, tmp_path):
    """Each changes the video, as translate is told of it."""
    transfer = load_transfer(world, device="cpu", dtype="float32")
    sources = {view: read_video(path)[0] for view, path in zip(VIEWS, videos, strict=True)}
    source = join_views(sources, VIEWS, size=SIZE)
    whole = np.zeros_like(source)
    whole[:, :, :20] = 255
    write_mp4(tmp_path / "mask.mp4", whole, 10)
    write_mp4(tmp_path / "edges.mp4", edge(source, "very_low"), 10)
    specs = parse_controls(["edge:0.8"])
    given = {"edge": read_video(tmp_path / "edges.mp4")[0]}
    controls = control_videos(sources, specs, size=SIZE, views=VIEWS, given=given)
    keep = read_video(tmp_path / "mask.mp4")[0].mean(axis=-1) / 255
    options = {"source": source, "keep": keep.astype(np.float32), "keep_steps": 0, "sigma_max": 0.7}
    expected = np.concatenate([*transfer.translate(controls, prompt=PROMPT, seed=0, steps=3, **options)])
    task = Task(
        tuple(videos),
        PROMPT,
        specs,
        files={"edge": tmp_path / "edges.mp4"},
        keep=str(tmp_path / "mask.mp4"),
        sigma_max=0.7,
        options={"steps": 3, "keep_steps": 0},
    )
    transfer_video(transfer, task, tmp_path / "out", name="a", progress=False)
    sizes = {view: video.shape[1:3] for view, video in sources.items()}
    write_mp4(tmp_path / "expected.mp4", split_views(expected, VIEWS, sizes=sizes)["wrist"], 10)
    assert (tmp_path / "out" / "a.wrist.mp4").read_bytes() == (tmp_path / "expected.mp4").read_bytes()
    run(world, tmp_path / "out", videos, "--controls", "edge:0.8", "--keep", "robot", "--name", "b")
    run(world, tmp_path / "out", videos, "--controls", "edge:0.8", "--name", "c")
    assert (tmp_path / "out" / "b.wrist.mp4").read_bytes() != (tmp_path / "out" / "c.wrist.mp4").read_bytes()


def test_mistakes_on_the_command_line(world, videos, tmp_path, capsys):
    write_mp4(tmp_path / "short.mp4", moving(5, (40, 64), seed=0), 10)
    cases = [
        (videos, ["--controls", "egde"], "did you mean 'edge'"),
        (videos, ["--controls", "edge", "--annotator", "hub"], "the annotator 'hub' would be ignored"),
        (videos, ["--controls", "edge", "--phrases", "robot"], "would be ignored: there is no seg control"),
        (videos, ["--controls", "edge", "--control-videos", "depth=a.mp4"], "the depth video would be ignored"),
        (videos, ["--control-videos", "edge"], "'edge' is no pair NAME=VALUE"),
        (videos, ["--controls", "edge:gripper"], "unknown segment 'gripper'"),
        (videos, ["--controls", "edge", "--keep-steps", "3"], "keep_steps=3 would be ignored"),
        (videos, ["--controls", "edge", "--sigma-max", "9"], "a ratio of noise to data of 9 is 0.9"),
        ([videos[0], tmp_path / "short.mp4"], ["--controls", "edge"], "unequal numbers of frames"),
        ([*videos, videos[0]], ["--controls", "edge"], "the world has the views agentview, wrist"),
        ([tmp_path / "none.mp4"], ["--controls", "edge"], "the video is missing"),
        (videos, ["--model", "transfr"], "unknown transfer 'transfr'"),
    ]
    for given, options, message in cases:
        with pytest.raises(SystemExit, match="2"):
            run(world, tmp_path / "out", given, *options)
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_packing_needs_all_parts(tmp_path, capsys):
    exports = write_exports(tmp_path / "exports")
    command = ["pack", "--model", str(exports / "base"), "--out", str(tmp_path / "world")]
    for options, message in (
        ([], "holds no control branches"),
        (["--branches", f"blur={exports / 'edge'}"], "no blur branch"),
        (["--branches", f"edge={exports / 'edge'}", "--views", "a", "b", "c"], "side by side"),
        (["--branches", f"edge={exports / 'edge'}", "--annotator", str(exports / "edge")], "not a annotator"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main([*command, *options, "--size", "32,64", "--chunk", "9"])
        assert message in capsys.readouterr().err
    assert not (tmp_path / "world").exists()
    with pytest.raises(ValueError, match="exists"):
        pack_transfer(exports / "base", model=exports / "base", branches={"edge": exports / "edge"})
