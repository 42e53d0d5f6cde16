"""Whole augmentations of a small dataset, by a translator that repaints: what comes of them, and of their faults."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from moving_scene import SIZES, STEPS, DarkRobot, episode_of
from repainter import LIMITS, Repainter, opener

from cosmos_sim.augmentation.augment import Augmented, augment
from cosmos_sim.augmentation.plan import AugmentConfig, Job
from cosmos_sim.augmentation.prompts import SampledPrompts
from cosmos_sim.augmentation.recolour import recolour
from cosmos_sim.augmentation.template import Template
from cosmos_sim.augmentation.variant import Augmenter
from cosmos_sim.augmentation.variant import Source as AugmentSource
from cosmos_sim.data.captions import EpisodeCaption, read_captions, write_captions
from cosmos_sim.data.lerobot import dataset_info, read_episodes, write_dataset
from cosmos_sim.data.runners import Here

TEMPLATE = Template(
    "toy", "a [TABLE] table", {"TABLE": ("red", "green", "blue", "grey")}, {"hand": "close, a [TABLE] one"}
)
PROMPTS = SampledPrompts(TEMPLATE, seed=1)
EPISODES = 3


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "demos"
    write_dataset((episode_of(index) for index in range(EPISODES)), folder)
    write_captions(folder, {1: EpisodeCaption("as it was")})
    (folder / "meta" / "collection.json").write_text('{"of": "these episodes"}')
    return folder


@pytest.fixture(scope="module")
def config(source: Path) -> AugmentConfig:
    return AugmentConfig(str(source), "repainter", variants=2, controls=("blur@none",), attempts=2)


def run(config: AugmentConfig, out: Path, **options: Any) -> Augmented:
    return augment(config, out, prompts=PROMPTS, opener=opener(config, **options), runner=Here("cpu"), progress=False)


@pytest.fixture(scope="module")
def done(config: AugmentConfig, tmp_path_factory: pytest.TempPathFactory) -> Augmented:
    return run(config, tmp_path_factory.mktemp("out") / "made")


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "meta" / "augmentation.jsonl").read_text().splitlines()]


def test_the_source_comes_first_and_its_variants_after_it(done: Augmented, source: Path) -> None:
    assert (done.sources, done.variants, done.rejected, done.new) == (3, 6, 0, 6)
    assert not done.failed
    assert not done.skipped
    origins = [(line["source_episode"], line["variant"]) for line in lines(done.path)]
    assert origins == [(0, None), (1, None), (2, None), (0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    originals = list(read_episodes(source))
    for made, (index, variant) in zip(read_episodes(done.path), origins, strict=True):
        original = originals[index]
        for name in ("action", "state", "reward", "success"):
            np.testing.assert_array_equal(getattr(made, name), getattr(original, name))
        same = [np.array_equal(made.frames[camera], original.frames[camera]) for camera in SIZES]
        assert same == [variant is None] * 2
        difference = np.abs(
            np.sort(made.frames["front"], axis=3).astype(int) - np.sort(original.frames["front"], axis=3)
        )
        assert np.median(difference) < 45  # other colours, but everything where it was


def test_what_is_kept_stays_as_the_source_shows_it(config: AugmentConfig, source: Path, tmp_path: Path) -> None:
    kept = run(replace(config, keep=("robot", "cube"), variants=1, episodes=(0,)), tmp_path / "made")
    original, made = (episode.frames["front"].astype(int) for episode in read_episodes(kept.path))
    height, width = SIZES["front"]
    cube = (slice(None), slice(height // 2 + 2, height // 2 + 9), slice(width - 12, width - 5))
    assert np.abs(made[cube] - original[cube]).mean() < 12  # but for the video's coding
    robot = original.max(axis=3) < 70
    assert np.abs(made - original)[robot].mean() < 12
    corner = (slice(None), slice(height - 8, None), slice(0, 8))  # of the table
    assert np.abs(made[corner] - original[corner]).mean() > 12
    with pytest.raises(ValueError, match=r"keep and recolour take the names of regions, each once"):
        replace(config, keep=("robot", "robot"))
    with pytest.raises(ValueError, match=r"each once, got \('robot', 'robot'\)"):
        replace(config, keep=("robot",), recolour=("robot",))


def test_regions_are_recoloured_before_what_is_kept_is_put_back(config: AugmentConfig) -> None:
    def painted(**regions: tuple[str, ...]) -> tuple[AugmentSource, dict[str, np.ndarray]]:
        changed = replace(config, **regions)
        maker = Augmenter(changed, Repainter(tuple(SIZES)), DarkRobot(), limits=LIMITS)
        job = Job(0, 0, PROMPTS.of(0, [0])[0])
        return maker.source(0), dict(maker.paint(maker.source(0), job, 3))

    _, plain = painted()
    source, drawn = painted(recolour=("cube",))
    (cube,) = source.recoloured
    expected = recolour(source.episode.frames, plain, [cube])
    for camera in SIZES:
        np.testing.assert_array_equal(drawn[camera], expected[camera])
        assert (drawn[camera] != plain[camera]).any()
    source, both = painted(recolour=("cube",), keep=("robot",))
    for camera, mask in source.kept.items():
        np.testing.assert_array_equal(both[camera][mask], source.episode.frames[camera][mask])


def test_labels_are_the_sources_bit_for_bit(done: Augmented, source: Path) -> None:
    (there,) = [pq.read_table(file) for file in source.glob("data/*/*.parquet")]
    (here,) = [pq.read_table(file) for file in done.path.glob("data/*/*.parquet")]
    for k, line in enumerate(lines(done.path)):
        a, b = here.slice(k * STEPS, STEPS), there.slice(line["source_episode"] * STEPS, STEPS)
        for name in there.column_names:
            if name not in ("episode_index", "index"):
                assert a[name].combine_chunks().equals(b[name].combine_chunks()), name


def test_provenance_captions_and_page_tell_of_every_episode(done: Augmented, config: AugmentConfig) -> None:
    told = lines(done.path)
    captions = read_captions(done.path)
    assert captions[1].caption == "as it was"
    assert 0 not in captions
    for line in told[3:]:
        prompt = TEMPLATE.sample(seed=1, episode=line["source_episode"], variant=line["variant"])
        assert captions[line["episode"]] == prompt.caption
        assert line["prompt"]["slots"] == dict(prompt.slots)
        assert line["scores"]["front.mask_iou"] > 0.8
        assert line["controls"] == ["blur@none:1.0"]
        assert line["faults"] == []
    assert len({line["seed"] for line in told[3:]}) == 6
    record = json.loads((done.path / "meta" / "augmentation.json").read_text())
    assert record["settings"]["variants"] == 2
    page = (done.path / "augmentation.html").read_text()
    assert page.count("data:image/jpeg;base64") == 9
    assert "http" not in page
    assert "a green table" in page
    readme = (done.path / "README.md").read_text()
    assert "# demos, 2 variants" in readme
    assert config.dataset not in readme + page
    assert (done.path / "meta" / "collection.json").is_file()


def test_lerobot_opens_it(done: Augmented) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("made", root=done.path, video_backend="pyav")
    assert (dataset.num_episodes, dataset.num_frames) == (9, 9 * STEPS)
    for index in (0, 4 * STEPS + 7, 9 * STEPS - 1):
        assert dataset[index]["observation.images.hand"].shape == (3, *SIZES["hand"])


def test_lerobot_trains_on_it(done: Augmented, tmp_path: Path) -> None:
    from lerobot.configs.default import DatasetConfig
    from lerobot.configs.train import TrainPipelineConfig
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.scripts.lerobot_train import train

    policy = ACTConfig(
        device="cpu",
        push_to_hub=False,
        pretrained_backbone_weights=None,
        dim_model=16,
        n_heads=2,
        dim_feedforward=16,
        n_encoder_layers=1,
        n_vae_encoder_layers=1,
        chunk_size=3,
        n_action_steps=3,
    )
    data = DatasetConfig("made", root=str(done.path), video_backend="pyav")
    out = tmp_path / "run"
    train(TrainPipelineConfig(data, policy=policy, output_dir=out, steps=1, batch_size=2, num_workers=0))
    assert list(out.glob("checkpoints/*/pretrained_model/model.safetensors"))


def test_a_finished_dataset_is_left_alone_and_other_options_are_refused(done: Augmented, config: AugmentConfig) -> None:
    before = (done.path / "meta" / "info.json").stat().st_mtime_ns
    assert run(config, done.path, fault="broken") == replace(done, new=0)
    assert (done.path / "meta" / "info.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="was made with other options: variants 2 there, 3 here"):
        run(replace(config, variants=3), done.path)
    with pytest.raises(ValueError, match="exists already and is not an augmented dataset"):
        run(config, Path(config.dataset))


def test_each_camera_alone_with_a_caption_of_its_own(config: AugmentConfig, tmp_path: Path) -> None:
    some = replace(config, cameras=("hand",), episodes=(2,))
    made = augment(some, tmp_path / "made", prompts=PROMPTS, opener=opener(some, views=None), runner=Here("cpu"),
                   include_source=False, progress=False)  # fmt: skip
    assert (made.sources, made.variants) == (1, 2)
    (original,) = read_episodes(config.dataset, [2])
    for episode in read_episodes(made.path):
        np.testing.assert_array_equal(episode.frames["front"], original.frames["front"])
        assert not np.array_equal(episode.frames["hand"], original.frames["hand"])
    assert not (made.path / "meta" / "collection.json").exists()


@pytest.mark.parametrize("fault", ["shifted", "frozen", "swapped"])
def test_a_broken_generator_fills_no_dataset(config: AugmentConfig, tmp_path: Path, fault: str) -> None:
    with pytest.raises(ValueError, match=r"none of 6 variants .* was accepted; the first: front"):
        run(config, tmp_path / "made", fault=fault)
    assert not (tmp_path / "made").exists()


def test_a_rejected_variant_is_made_again_from_another_seed(config: AugmentConfig, tmp_path: Path) -> None:
    made = run(replace(config, episodes=(0,)), tmp_path / "made", fault="first")
    assert (made.variants, made.rejected) == (2, 0)
    first, second = lines(made.path)[1:]
    (attempt,) = first["rejected_attempts"]
    assert any(fault.startswith("front.mask_iou") for fault in attempt["faults"])
    assert attempt["seed"] != first["seed"]
    assert second["rejected_attempts"] == []


def test_what_stays_bad_is_left_out_and_shown(config: AugmentConfig, tmp_path: Path) -> None:
    made = run(replace(config, attempts=1), tmp_path / "made", fault="first")
    assert (made.variants, made.rejected) == (5, 1)
    assert dataset_info(made.path).episodes == 8
    (told,) = json.loads((made.path / "meta" / "augmentation.json").read_text())["rejected"]
    assert (told["source_episode"], told["variant"]) == (0, 0)
    assert 'class="rejected"' in (made.path / "augmentation.html").read_text()


def test_a_corrupt_episode_is_named_and_the_others_are_made(
    config: AugmentConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Path(shutil.copytree(config.dataset, tmp_path / "broken"))
    (video,) = broken.glob("videos/*hand/*/*.mp4")
    with video.open("r+b") as file:  # the last episode's frames
        file.seek(int(video.stat().st_size * 0.86))
        file.write(b"\xff" * 400)
    made = run(replace(config, dataset=str(broken)), tmp_path / "made")
    (skipped,) = made.skipped.items()
    assert skipped[0] == EPISODES - 1
    assert str(video) in skipped[1]
    assert "episode 2, variant 0 could not be made" in capsys.readouterr().out
    assert (made.sources, made.variants) == (2, 4)
    assert dataset_info(made.path).episodes == 6


def test_faults_of_the_world_are_told(config: AugmentConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such world"):
        run(config, tmp_path / "made", fault="broken")
    with pytest.raises(ValueError, match=r"none of 6 variants.*NaN in chunk 1"):
        run(config, tmp_path / "made", fault="nan")
    with pytest.raises(ValueError, match=r"makes the cameras front, wrist side by side, .* is to change front, hand"):
        run(config, tmp_path / "made", views=("front", "wrist"))


def children(process: subprocess.Popen) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_killed_processes_leave_what_they_made_and_another_goes_on(
    done: Augmented, config: AugmentConfig, tmp_path: Path
) -> None:
    out, staged = tmp_path / "made", tmp_path / "made.augmenting" / "variants"
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_augment as t\n"
        "from cosmos_sim.data.runners import Processes\n"
        "if __name__ == '__main__':\n"
        f"    config = t.AugmentConfig({config.dataset!r}, 'repainter', 2, ('blur@none',), attempts=2)\n"
        f"    t.augment(config, {str(out)!r}, prompts=t.PROMPTS, opener=t.opener(config, pause=1.0),"
        " runner=Processes(2, ('cpu',)))"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, script], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 240
    while len(list(staged.glob("[0-9]*"))) < 2 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    workers = children(process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(list(staged.glob("[0-9]*")))
    assert 2 <= kept < 6
    assert len(workers) >= 2
    assert not out.exists()
    while not all(map(gone, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert all(map(gone, workers))
    with pytest.raises(ValueError, match=r"begun with other options: seed 0 there, 5 here"):
        run(replace(config, seed=5), out)
    made = run(config, out)
    assert made.new == 6 - kept
    assert lines(out) == lines(done.path)
    for a, b in zip(read_episodes(out), read_episodes(done.path), strict=True):
        for camera in SIZES:
            np.testing.assert_array_equal(a.frames[camera], b.frames[camera])
    assert not staged.exists()


def test_a_full_disk_loses_nothing(config: AugmentConfig, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, hard))
        with pytest.raises(OSError, match=r"^File too large '.*made.*': what is done is kept in .*made\.augmenting"):
            run(config, tmp_path / "made")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert not (tmp_path / "made").exists()
    kept = len(list((tmp_path / "made.augmenting" / "variants").glob("[0-9]*")))
    assert run(config, tmp_path / "made").new == 6 - kept


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variants": 0}, "variants must be from 1 to 1000 an episode, got 0"),
        ({"attempts": 0}, "attempts must be from 1 to 100, got 0"),
        ({"guidance": -1.0}, "guidance must be finite and not negative, got -1.0"),
        ({"controls": ()}, "controls are needed"),
        ({"controls": ("edgy",)}, "unknown control 'edgy'"),
        ({"episodes": (1, 1)}, r"episodes must be at least one, each once, got \(1, 1\)"),
        ({"seed": -1}, "seed must lie in"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
    ],
)
def test_options_out_of_range_are_named(config: AugmentConfig, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(config, **change)


def test_an_unknown_episode_is_named(config: AugmentConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has episodes 0\.\.2, not 3"):
        run(replace(config, episodes=(3,)), tmp_path / "made")
