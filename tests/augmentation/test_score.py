import json
import shutil

import cv2
import numpy as np
import pytest

from cosmos_sim.augmentation.annotators import Recorded
from cosmos_sim.augmentation.control_spec import parse_controls
from cosmos_sim.augmentation.controls import blur
from cosmos_sim.augmentation.score import ClipScore, TransferScore, clip_decay, score_clip, score_text
from cosmos_sim.augmentation.score_sources import DatasetPairs, file_pairs
from cosmos_sim.cli import main
from cosmos_sim.data.annotations import Annotations, write_annotations
from cosmos_sim.data.encoding import encode_video
from cosmos_sim.data.lerobot import write_dataset
from cosmos_sim.metrics.control import blur_ssim, depth_si_rmse, edge_f1, mask_miou
from cosmos_sim.metrics.intervals import mean_interval
from cosmos_sim.metrics.quality import sharpness
from cosmos_sim.types import Episode

NAMES = ("background", "robot", "cube")
STEPS, SIZES = 6, {"agentview": (48, 64), "wrist": (32, 40)}


def scene(shift, *, tint=0, seed=0, size=(48, 64)):
    """Frames of a moving disc (the robot) and a square (the cube), and their annotations."""
    rng = np.random.default_rng(seed)
    frames = np.full((STEPS, *size, 3), 60 + tint, np.uint8)
    ids, depth = np.zeros((STEPS, *size), np.uint8), np.full((STEPS, *size), 2000, np.uint16)
    for t in range(STEPS):
        for k, draw in ((1, (cv2.circle, (size[1] // 3 + t + shift, size[0] // 2), size[0] // 5)), (2, None)):
            mask = np.zeros(size, np.uint8)
            if draw is not None:
                draw[0](mask, draw[1], draw[2], 1, -1)
            else:
                cv2.rectangle(mask, (size[1] - 16 - shift, 5), (size[1] - 5 - shift, 16), 1, -1)
            ids[t][mask > 0], depth[t][mask > 0] = k, 2000 - 600 * k
            frames[t][mask > 0] = (220 - 90 * k, 60 * k, 40 + tint)
    return np.clip(frames + rng.normal(0, 3, frames.shape), 0, 255).astype(np.uint8), ids, depth


def recorded(ids, depth, camera="agentview"):
    return Recorded(Annotations({camera: depth}, {camera: ids}, NAMES), camera)


@pytest.fixture(scope="module")
def clips():
    return scene(0), scene(2, tint=25, seed=1)


def test_every_control_has_its_figure(clips):
    (source, ids, depth), (made, found, deep) = clips
    specs = parse_controls(["edge@low", "blur@low", "depth", "seg:0.3"])
    truth, reader = recorded(ids, depth), recorded(found, deep)
    figures = score_clip(source, made, specs, truth=truth, annotator=reader)
    masks = mask_miou(truth=ids, estimate=found)
    expected = {
        "blur_ssim": blur_ssim(truth=source, estimate=made, blur=lambda video: blur(video, "low")),
        "edge_f1": edge_f1(truth=source, estimate=made, thresholds=(50, 100)).f1,
        "depth_si_rmse": depth_si_rmse(truth=depth / 1000, estimate=deep / 1000),
        "mask_miou": masks.miou,
        "mask_recall": 1.0,
        "quality": sharpness(made),
        "source_quality": sharpness(source),
    }
    assert figures == pytest.approx(expected)
    assert list(figures) == list(expected)
    assert 0.3 < figures["mask_miou"] < 0.95
    assert len({round(value, 6) for value in figures.values()}) == 7
    robot = score_clip(source, made, parse_controls(["seg"]), truth=truth, annotator=reader, phrases=("robot",))
    one = mask_miou(truth=(ids == 1).astype(np.uint8), estimate=(found == 1).astype(np.uint8))
    assert robot["mask_miou"] == one.miou != masks.miou


def test_a_region_is_the_sources(clips):
    (source, ids, depth), (made, found, deep) = clips
    specs = parse_controls(["edge", "blur:robot"])
    figures = score_clip(source, made, specs, annotator=recorded(ids, depth))
    robot = ids == 1
    assert figures["edge_f1"] == edge_f1(truth=source, estimate=made).f1
    assert figures["blur_ssim"] == blur_ssim(truth=source, estimate=made, blur=blur, where=robot)
    hidden = recorded(np.where(robot, 0, ids).astype(np.uint8), depth)
    assert "blur_ssim" not in score_clip(source, made, specs, truth=hidden, annotator=recorded(found, deep))


def test_what_is_needed_is_named(clips):
    (source, ids, depth), (made, _, _) = clips
    with pytest.raises(ValueError, match=r"'blur@very_low:robot:1\.0' needs an annotator, for its region"):
        score_clip(source, made, parse_controls(["blur:robot"]))
    with pytest.raises(ValueError, match=r"'depth:1\.0' needs an annotator of generated frames"):
        score_clip(source, made, parse_controls(["depth"]), truth=recorded(ids, depth))
    with pytest.raises(ValueError, match="must have one shape"):
        score_clip(source, made[:4], parse_controls(["edge"]))
    other = Recorded(Annotations({"a": depth}, {"a": (ids > 0).astype(np.uint8)}, ("background", "arm")), "a")
    with pytest.raises(ValueError, match="no segment is known to both: background, robot, cube; background, arm"):
        score_clip(source, made, parse_controls(["seg"]), truth=recorded(ids, depth), annotator=other)


def test_means_are_over_the_clips_that_have_a_figure():
    score = TransferScore(
        (
            ClipScore("a", (), {"edge_f1": 0.5, "quality": 3.0}, (1.0, 0.8, 0.7)),
            ClipScore("b", (), {"quality": 5.0}, (1.0, 0.6)),
            ClipScore("c", (), {"quality": 4.5}),
        )
    )
    assert score.means["quality"].value == pytest.approx(12.5 / 3)
    assert score.means["quality"].interval == mean_interval([3.0, 5.0, 4.5])
    assert (score.means["edge_f1"].clips, score.means["edge_f1"].interval) == (1, None)
    assert score.decay == pytest.approx((1, 0.7, 0.7))
    assert "RNDS 1.000 0.700 0.700" in score_text(score)
    assert "edge_f1            0.5000" in score_text(score)


def test_decay_is_relative_to_the_source(clips):
    source, made = clips[0][0], clips[1][0].copy()
    made[3:] = [cv2.GaussianBlur(image, (9, 9), 3) for image in made[3:]]
    curve = clip_decay(source, made, chunk=3)
    expected = sharpness(made[3:]) / sharpness(source[3:]) / (sharpness(made[:3]) / sharpness(source[:3]))
    assert curve == pytest.approx((1, expected))
    assert curve[1] < 0.7
    with pytest.raises(ValueError, match="the source has 6 frames, the generated clip 5"):
        clip_decay(source, made[:5], chunk=3)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two episodes and a variant of each, as ``augment`` exports them: the sources' annotations and the provenance."""
    folder, episodes = tmp_path_factory.mktemp("data") / "augmented", []
    for shift, tint in ((0, 0), (3, 0), (3, 30), (0, 30)):
        frames = {camera: scene(shift, tint=tint, size=size)[0] for camera, size in SIZES.items()}
        numbers = np.zeros((STEPS, 2), np.float32)
        episodes.append(Episode(frames, numbers, numbers, "lift the cube"))
    write_dataset(iter(episodes), folder)
    for k, shift in enumerate((0, 3)):
        made = {camera: scene(shift, size=size) for camera, size in SIZES.items()}
        depth, ids = ({camera: arrays[n] for camera, arrays in made.items()} for n in (2, 1))
        write_annotations(folder, k, Annotations(depth, ids, NAMES))
    controls = ["edge@medium:1.0", "blur@very_low:robot:1.0"]
    lines = [
        {"episode": 0, "source_episode": 5, "variant": None},
        {"episode": 1, "source_episode": 7, "variant": None},
        {"episode": 2, "source_episode": 7, "variant": 0, "controls": controls},
        {"episode": 3, "source_episode": 5, "variant": 0, "controls": controls},
    ]
    meta = folder / "meta"
    (meta / "augmentation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (meta / "augmentation.json").write_text(json.dumps({"settings": {"cameras": None}}))
    return folder


def test_variants_stand_beside_their_sources(dataset):
    pairs = DatasetPairs(dataset)
    found = list(pairs)
    assert len(pairs) == len(found) == 4
    assert [pair.name for pair in found[:3]] == ["episode 2, agentview", "episode 2, wrist", "episode 3, agentview"]
    for pair, shift in zip(found, (3, 3, 0, 0), strict=True):
        camera = pair.name.split(", ")[1]
        for video, tint in ((pair.source, 0), (pair.generated, 30)):
            expected = scene(shift, tint=tint, size=SIZES[camera])[0]
            assert np.abs(video.astype(int) - expected).mean() < 4
        robot = pair.truth.segments(pair.source, ("robot",)).mask("robot")
        np.testing.assert_array_equal(robot, scene(shift, size=SIZES[camera])[1] == 1)
        assert pair.specs == parse_controls(["edge", "blur:robot"])
    chosen = list(DatasetPairs(dataset, specs=parse_controls(["edge@low"]), cameras=["wrist"]))
    assert [pair.name for pair in chosen] == ["episode 2, wrist", "episode 3, wrist"]
    assert chosen[0].specs == parse_controls(["edge@low"])


def test_a_dataset_without_its_sources_needs_them(dataset, tmp_path):
    copy = tmp_path / "bare"
    shutil.copytree(dataset, copy)
    lines = (copy / "meta" / "augmentation.jsonl").read_text().splitlines()
    (copy / "meta" / "augmentation.jsonl").write_text("\n".join(lines[2:3]).replace(": 7", ": 1") + "\n")
    with pytest.raises(ValueError, match=r"episode 1, which episode 2 of .* is made from, is left out: give the"):
        DatasetPairs(copy)
    (first, *_) = DatasetPairs(copy, source=dataset)
    np.testing.assert_array_equal(first.source, next(iter(DatasetPairs(dataset))).source)
    (copy / "meta" / "augmentation.jsonl").write_text("{]\n")
    with pytest.raises(ValueError, match=r"augmentation.jsonl' cannot be read"):
        DatasetPairs(copy)
    (copy / "meta" / "augmentation.jsonl").unlink()
    with pytest.raises(ValueError, match="is no augmented dataset"):
        DatasetPairs(copy)


def test_the_command_scores_a_dataset(dataset, tmp_path, capsys):
    main(["score-transfer", "--dataset", str(dataset), "--chunk", "3", "--out", str(tmp_path / "score.json")])
    found = json.loads((tmp_path / "score.json").read_text())
    assert len(found["clips"]) == 4
    assert set(found["means"]) == {"blur_ssim", "edge_f1", "quality", "source_quality"}
    assert found["means"]["edge_f1"]["clips"] == 4
    assert 0.5 < found["means"]["edge_f1"]["value"] <= 1
    assert len(found["rnds"]) == 2
    assert f"{found['means']['edge_f1']['value']:.4f}" in capsys.readouterr().out


def test_the_command_scores_videos(clips, tmp_path, capsys):
    files = [tmp_path / name for name in ("source.mp4", "made.mp4")]
    for file, (frames, _, _) in zip(files, clips, strict=True):
        file.write_bytes(encode_video(frames, fps=10))
    out = ["--out", str(tmp_path / "score.json")]
    main(["score-transfer", "--source", str(files[0]), "--generated", str(files[1]), "--quality", "numpy:std", *out])
    found = json.loads((tmp_path / "score.json").read_text())
    (pair,) = file_pairs(files[:1], files[1:], parse_controls(["edge", "blur"]))
    assert found["clips"][0]["figures"] == pytest.approx(
        score_clip(pair.source, pair.generated, pair.specs, quality=np.std)
    )
    assert found["quality"] == "numpy:std"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give either generated videos and their sources, or one augmented dataset"),
        (["--generated", "a.mp4"], "got 1 and 0"),
        (["--generated", "a.mp4", "--source", "b.mp4"], "'b.mp4': the video is missing"),
        (["--generated", "a.mp4", "--source", "b.mp4", "--cameras", "wrist"], "cameras=('wrist',) would be ignored"),
        (["--generated", "a.mp4", "--source", "b.mp4", "--device", "cpu"], "device and phrases would be ignored"),
        (["--generated", "a.mp4", "--source", "b.mp4", "--controls", "egde"], "did you mean 'edge'"),
        (["--generated", "a.mp4", "--source", "b.mp4", "--quality", "beauty"], "unknown quality 'beauty'"),
        (["--generated", "a.mp4", "--source", "b.mp4", "--quality", "numpy:beauty"], "no quality 'numpy:beauty'"),
        (["--generated", "a.mp4", "--source", "b.mp4", "--chunk", "0"], "at least 1 frame, got 0"),
    ],
)
def test_wrong_options_are_named(options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["score-transfer", *options])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
