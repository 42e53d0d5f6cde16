"""Clips of numbered videos: which frames they show is read off the frames."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy import ndarray
from PIL import ExifTags, Image
from scipy.stats import chisquare

from cosmos_sim.data.clips import ClipRef, ClipSet, open_source
from cosmos_sim.data.latent_cache import LatentCache
from cosmos_sim.data.split import held_out_names

Encode = Callable[..., Path]
Numbers = Callable[[ndarray], list[int]]


@dataclass(frozen=True)
class Every:
    """Every ``count``-th sample: the least that a share of a batch is."""

    index: int = 0
    count: int = 1

    def of(self, items: Any) -> Any:
        return items[self.index :: self.count]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clip_set(folder: Path | Sequence[Path], cache: Path, **options: Any) -> ClipSet:
    folders = [folder] if isinstance(folder, Path) else folder
    settings: dict[str, Any] = {"frames": 5, "fps": None, "sizes": [(24, 40)], "held_out": 0.0, **options}
    return ClipSet([open_source(path) for path in folders], cache=cache / "cache", **settings)


def drawn(clips: ClipSet, seeds: Sequence[int], count: int = 4, images: bool = False) -> list[ClipRef]:
    return [ref for seed in seeds for ref in clips.draw(count, generator(seed), images=images, part=Every())]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_are_the_nearest_in_time(tmp_path: Path, encode: Encode, numbers: Numbers, suffix: str) -> None:
    encode(tmp_path / "data" / f"a{suffix}", 41, fps=12)
    clips = clip_set(tmp_path / "data", tmp_path, fps=5, every=1)
    assert len(clips) == len(range(0, 41 - 10, 2))  # windows of 4 / 5 s are 9.6 frames long, and begin every 12 / 5
    for ref in drawn(clips, range(4)):
        clip = clips.load(ref)
        stamps = np.arange(41) / 12
        expected = [int(np.abs(stamps - (ref.start / 12 + k / 5)).argmin()) for k in range(5)]
        assert numbers(clip.frames) == expected
        assert clip.frames.shape == (5, 24, 40, 3)
        assert clip.frames.dtype == np.uint8
        assert (clip.fps, clip.action, clip.ref) == (5, None, ref)
        file, seconds = clip.name.removesuffix("s").split("@")
        assert file == str(tmp_path / "data" / f"a{suffix}")
        assert float(seconds) == pytest.approx(ref.start / 12, abs=2e-3)
        assert clip.name == clips.name(ref)


def test_windows_touch_by_default(tmp_path: Path, encode: Encode, numbers: Numbers) -> None:
    encode(tmp_path / "data" / "a.mp4", 23)
    clips = clip_set(tmp_path / "data", tmp_path)
    shown = {tuple(numbers(clips.load(ref).frames)) for ref in drawn(clips, range(10))}
    assert shown == {tuple(range(start, start + 5)) for start in (0, 5, 10, 15)}
    assert len(clips) == 4


def test_a_video_that_begins_late_and_stumbles(tmp_path: Path, encode: Encode, numbers: Numbers) -> None:
    times = [3 + k / 10 + 0.02 * (k % 3 == 1) for k in range(20)]
    encode(tmp_path / "data" / "a.mkv", 20, times=times)
    clips = clip_set(tmp_path / "data", tmp_path, fps=5)
    ref = next(ref for ref in drawn(clips, range(9)) if ref.start)
    assert numbers(clips.load(ref).frames) == [ref.start + 2 * k for k in range(5)]


def test_captions_stand_beside_or_in_a_table(tmp_path: Path, encode: Encode) -> None:
    def captions(name: str) -> dict[str, str]:
        clips = clip_set(tmp_path / name, tmp_path, captions=True)
        found = {clips.name(ref).split("/")[-1].split("@")[0]: clips.caption(ref) for ref in drawn(clips, range(12))}
        assert set(found.values()) == set(clips.captions())
        return found

    for name in ("text", "lines", "table"):
        for video in ("a", "b", "deep"):
            encode(tmp_path / name / ("sub" if video == "deep" else ".") / f"{video}.mp4", 6)
    (tmp_path / "text" / "a.txt").write_text("a robot\n")
    (tmp_path / "text" / "b.txt").write_text("a bird, über all\n", encoding="utf-8")
    (tmp_path / "text" / "sub" / "deep.txt").write_text("the sea")
    rows = [{"file_name": "a.mp4", "text": "one"}, {"file": "sub/deep.mp4", "caption": "two", "source": "x"}]
    (tmp_path / "lines" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "table" / "metadata.csv").write_text('file,caption\nb.mp4,"one, two"\na.mp4,three\n')
    assert captions("text") == {"a.mp4": "a robot", "b.mp4": "a bird, über all", "deep.mp4": "the sea"}
    assert captions("lines") == {"a.mp4": "one", "deep.mp4": "two"}
    assert captions("table") == {"b.mp4": "one, two", "a.mp4": "three"}
    (tmp_path / "text" / "b.txt").unlink()
    assert clip_set(tmp_path / "text", tmp_path).captions() == ["", "a robot", "the sea"]
    with pytest.raises(ValueError, match=r"1 of 3 videos and images have no caption: .*text/b.mp4"):
        captions("text")


def test_each_shape_and_length_has_its_bucket_and_a_batch_is_of_one(tmp_path: Path, encode: Encode) -> None:
    encode(tmp_path / "data" / "wide.mp4", 12)
    encode(tmp_path / "data" / "high.mp4", 12, size=(80, 48))
    encode(tmp_path / "data" / "short.mp4", 7)
    clips = clip_set(tmp_path / "data", tmp_path, sizes=[(24, 40), (40, 24)], frames=[5, 9])
    kinds = set()
    for seed in range(30):
        refs = drawn(clips, [seed])
        kinds |= {(clips.name(ref).split("/")[-1], ref.size, ref.frames) for ref in refs}
        assert len({(ref.size, ref.frames) for ref in refs}) == 1
        clip = clips.load(refs[0])
        assert clip.frames.shape == (refs[0].frames, *refs[0].size, 3)
    assert kinds == {
        ("wide.mp4@0.000s", (24, 40), 9),
        ("high.mp4@0.000s", (40, 24), 9),
        ("short.mp4@0.000s", (24, 40), 5),
    }


def test_draws_are_in_proportion_to_windows(tmp_path: Path, encode: Encode) -> None:
    encode(tmp_path / "data" / "a.mp4", 8)  # 4 windows
    encode(tmp_path / "data" / "b.mp4", 6)  # 2
    encode(tmp_path / "data" / "c.mp4", 7, size=(80, 48))  # 3, in a bucket of their own
    clips = clip_set(tmp_path / "data", tmp_path, every=1, sizes=[(24, 40), (40, 24)])
    counts = Counter(clips.name(clips.draw(1, generator(seed), images=False, part=Every())[0]) for seed in range(1800))
    assert len(counts) == len(clips) == 9
    assert chisquare(list(counts.values())).pvalue > 1e-3
    within = Counter(map(clips.name, clips.draw(1200, generator(3), images=False, part=Every())))
    assert chisquare(list(within.values())).pvalue > 1e-3


def test_draws_depend_on_the_generator_alone_and_parts_make_up_the_whole(tmp_path: Path, encode: Encode) -> None:
    for name in "abc":
        encode(tmp_path / "data" / f"{name}.mp4", 20)
    clips, again = (clip_set(tmp_path / "data", tmp_path, every=1) for _ in range(2))
    whole = drawn(clips, [7], count=6)
    drawn(again, [1, 2])
    assert drawn(again, [7], count=6) == whole
    parts = [clips.draw(6, generator(7), images=False, part=Every(k, 3)) for k in range(3)]
    assert [parts[k % 3][k // 3] for k in range(6)] == whole
    assert drawn(clips, [8], count=6) != whole


def test_what_is_held_out_is_never_drawn(tmp_path: Path, encode: Encode) -> None:
    names = [f"{name}.mp4" for name in "abcdef"]
    for name in names:
        encode(tmp_path / "data" / name, 11)
    kept = {names[k] for k in held_out_names(names, fraction=0.7)}
    assert 0 < len(kept) < 6
    clips = clip_set(tmp_path / "data", tmp_path, held_out=0.7)

    def files(refs: Sequence[ClipRef]) -> set[str]:
        return {clips.name(ref).split("/")[-1].split("@")[0] for ref in refs}

    assert files(clips.held_out(99)) == kept
    assert len(clips.held_out(99)) == 2 * len(kept)
    assert clips.held_out(3) == clips.held_out(3)
    assert len({clips.name(ref) for ref in clips.held_out(3)}) == 3
    assert files(drawn(clips, range(20))) == set(names) - kept
    assert clip_set(tmp_path / "data", tmp_path).held_out(5) == []


def test_images_and_videos(tmp_path: Path, encode: Encode, numbers: Numbers) -> None:
    encode(tmp_path / "data" / "a.mp4", 20)
    for k, name in enumerate(("x.png", "y.jpg")):
        image = Image.fromarray(np.full((60, 100, 3), 50 + k * 50, np.uint8))
        exif = Image.Exif()
        if name == "y.jpg":  # lies on its side, and says so
            image = image.transpose(Image.Transpose.ROTATE_90)
            exif[ExifTags.Base.Orientation] = 6
        image.save(tmp_path / "data" / name, exif=exif)
    (tmp_path / "data" / "x.txt").write_text("grey")
    clips = clip_set(tmp_path / "data", tmp_path, sizes=[(24, 40), (40, 24)])
    shown = {}
    for ref in drawn(clips, range(6), images=True):
        clip = clips.load(ref)
        assert clip.frames.shape == (1, 24, 40, 3)
        assert (clip.action, clip.fps) == (None, 0)
        shown[clip.name.split("/")[-1]] = (numbers(clip.frames), clip.caption)
    assert shown == {"x.png": ([10], "grey"), "y.jpg": ([20], "")}
    assert {clips.name(ref).split("/")[-1].split("@")[0] for ref in drawn(clips, range(6))} == {"a.mp4"}

    for name in ("x.png", "y.jpg", "x.txt"):
        (tmp_path / "data" / name).unlink()
    clips = clip_set(tmp_path / "data", tmp_path)  # without image files, the first frames of the windows
    assert {tuple(numbers(clips.load(ref).frames)) for ref in drawn(clips, range(9), images=True)} == {
        (start,) for start in (0, 5, 10, 15)
    }
    stills = clip_set(tmp_path / "data", tmp_path, frames=1, fps=2)
    assert len(stills) == 4
    assert {tuple(numbers(stills.load(ref).frames)) for ref in drawn(stills, range(9), images=True)} == {
        (start,) for start in (0, 5, 10, 15)
    }
    with pytest.raises(ValueError, match=r"has no videos: it was made with frames=\[1\]"):
        drawn(stills, [0])


def test_the_key_is_of_what_is_shown(tmp_path: Path, encode: Encode) -> None:
    encode(tmp_path / "one" / "a.mp4", 12)
    (tmp_path / "two").mkdir()
    shutil.copy(tmp_path / "one" / "a.mp4", tmp_path / "two" / "other.mp4")
    encode(tmp_path / "three" / "a.mp4", 12, noise=1)

    def keys(name: str, **options: Any) -> set[str]:
        return {ref.key for ref in drawn(clip_set(tmp_path / name, tmp_path, **options), range(9))}

    first = keys("one")
    assert len(first) == 2
    assert keys("two") == first
    assert not keys("three") & first
    for options in ({"fps": 5}, {"sizes": [(24, 24)]}, {"frames": 4}):
        assert not keys("one", **options) & first


def test_the_second_epoch_decodes_nothing(tmp_path: Path, encode: Encode) -> None:
    for name in "ab":
        encode(tmp_path / "data" / f"{name}.mp4", 20)
        (tmp_path / "data" / f"{name}.txt").write_text(name)
    latents = LatentCache(tmp_path / "latents")
    clips = clip_set(tmp_path / "data", tmp_path)
    for ref in drawn(clips, range(8)):
        latents.put(ref.key, clips.load(ref).frames)
    for file in (tmp_path / "data").glob("*.mp4"):  # what cannot be decoded any more, though nobody can see it
        changed = file.stat()
        file.write_bytes(bytes(changed.st_size))
        os.utime(file, ns=(changed.st_atime_ns, changed.st_mtime_ns))
    again = clip_set(tmp_path / "data", tmp_path)
    for ref in drawn(again, range(8)):
        assert latents.get(ref.key) is not None
        assert again.caption(ref) == again.name(ref).split("/")[-1][0]
    assert not again.skipped


def test_threads_decode_what_one_does(tmp_path: Path, encode: Encode) -> None:
    for name in "ab":
        encode(tmp_path / "data" / f"{name}.mp4", 20)
    clips = clip_set(tmp_path / "data", tmp_path, every=1)
    refs = drawn(clips, range(6))
    alone = [clips.load(ref).frames for ref in refs]
    with ThreadPoolExecutor(4) as pool:
        for together, frames in zip(pool.map(clips.load_or_replace, refs), alone, strict=True):
            np.testing.assert_array_equal(together.frames, frames)


def test_what_does_not_fit_is_left_out_by_name(tmp_path: Path, encode: Encode) -> None:
    encode(tmp_path / "data" / "good.mp4", 40, fps=20)
    encode(tmp_path / "data" / "short.mp4", 9, fps=20)
    encode(tmp_path / "data" / "slow.mp4", 40, fps=10)
    with pytest.warns(UserWarning, match="2 videos are left out, the first of them .*short.mp4"):
        clips = clip_set(tmp_path / "data", tmp_path, frames=10, fps=16)
    assert {name.split("/")[-1]: why for name, why in clips.left_out.items()} == {
        "short.mp4": "it has 9 frames at 20 a second, too few for 10 at 16",
        "slow.mp4": "it has 10 frames a second, 16 are asked for",
    }
    assert {clips.name(ref).split("/")[-1].split("@")[0] for ref in drawn(clips, range(5))} == {"good.mp4"}
    with pytest.raises(ValueError, match=r"none of 3 videos is long and fast enough; .*good.mp4: it has 40 frames"):
        clip_set(tmp_path / "data", tmp_path, frames=50, fps=20)


def test_what_cannot_be_is_refused(tmp_path: Path, encode: Encode) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (50, 40)).save(tmp_path / "pictures" / "a.png")
    encode(tmp_path / "one" / "a.mp4", 12)
    refused: dict[str, Callable[[], Any]] = {
        r"'.*empty' holds no video": lambda: clip_set(tmp_path / "empty", tmp_path),
        r"no LeRobot dataset at '.*nowhere": lambda: clip_set(tmp_path / "nowhere", tmp_path),
        r"1 images and no video: clips of 5 frames need videos": lambda: clip_set(tmp_path / "pictures", tmp_path),
        r"needs a source": lambda: clip_set([], tmp_path),
        r"must be 1 alone, or numbers above 1, got \[1, 5\]": lambda: clip_set(tmp_path, tmp_path, frames=[1, 5]),
        r"must be 1 alone, or numbers above 1, got \[0\]": lambda: clip_set(tmp_path, tmp_path, frames=0),
        r"sizes must be pairs .*\(0, 8\)": lambda: clip_set(tmp_path, tmp_path, sizes=[(0, 8)]),
        r"fps must be above 0, got -1": lambda: clip_set(tmp_path, tmp_path, fps=-1),
        r"every must be 1 frame or more, got 0": lambda: clip_set(tmp_path, tmp_path, every=0),
        r"held-out fraction must be in \[0, 1\), got 1.5": lambda: clip_set(tmp_path, tmp_path, held_out=1.5),
        r"'.*one' has no actions": lambda: clip_set(tmp_path / "one", tmp_path, actions=True),
        r"has no cameras, got cameras=\['top'\]": lambda: open_source(tmp_path / "one", cameras=["top"]),
        r"stride_actions='sum' is for LeRobot": lambda: open_source(tmp_path / "one", stride_actions="sum"),
        r"made without actions": lambda: clip_set(tmp_path / "one", tmp_path).action_statistics(),
    }
    for message, call in refused.items():
        with pytest.raises(ValueError, match=message):
            call()


def test_tables_that_are_not_understood(tmp_path: Path, encode: Encode) -> None:
    encode(tmp_path / "a.mp4", 6)
    tables = {
        "not a table of files and captions: .*Expecting": ("metadata.jsonl", '{"file": '),
        "row 2 has no 'file' or 'file_name', but .*'path'": ("metadata.jsonl", '{"file": "a.mp4"}\n{"path": "b.mp4"}'),
        "must be an object": ("metadata.jsonl", "[1]"),
        "lists 'a.mp4' more than once": ("metadata.csv", "file,caption\na.mp4,x\na.mp4,y\n"),
        "lists 'a.pdf', which is neither": ("metadata.csv", "file,caption\na.pdf,x\n"),
        "holds no video": ("metadata.csv", "file,caption\n"),
    }
    for message, (name, text) in tables.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=message):
            open_source(tmp_path)
        (tmp_path / name).unlink()
    for name in ("metadata.csv", "metadata.jsonl"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="has both"):
        open_source(tmp_path)
