"""Broken clips are skipped, counted and named, and what a step trains on does not depend on when they were met."""

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy import ndarray
from PIL import Image

from cosmos_sim.data.clips import BrokenClip, Clip, ClipSet, open_source
from cosmos_sim.data.sources.folder import FolderSource

Encode = Callable[..., Path]
Numbers = Callable[[ndarray], list[int]]


class All:
    """The whole of a batch."""

    def of(self, items: list[int]) -> list[int]:
        return items


def clip_set(folder: Path, cache: str = "cache", frames: int = 5) -> ClipSet:
    return ClipSet(
        [open_source(folder)],
        frames=frames,
        fps=None,
        sizes=[(24, 40)],
        held_out=0,
        cache=folder.with_name(cache),
        every=1,
    )


def epoch(clips: ClipSet, seeds: range, images: bool = False) -> Iterator[Clip]:
    for seed in seeds:
        for ref in clips.draw(4, torch.Generator().manual_seed(seed), images=images, part=All()):
            yield clips.load_or_replace(ref)


def spoil(file: Path, place: float = 0.67) -> None:
    """Noise within the pictures; the header stays as it is."""
    data = bytearray(file.read_bytes())
    start = round(len(data) * place)
    data[start : start + 400] = np.random.default_rng(0).bytes(400)
    file.write_bytes(bytes(data))


@pytest.fixture
def folder(tmp_path: Path, encode: Encode) -> Path:
    for name in ("a", "b", "c"):
        encode(tmp_path / "data" / f"{name}.mp4", 40)
    return tmp_path / "data"


def test_damage_inside_a_video_costs_its_windows_alone(folder: Path, numbers: Numbers) -> None:
    spoil(folder / "b.mp4", 0.45)
    clips = clip_set(folder)
    with pytest.warns(UserWarning, match=r"skipped a broken clip, .*b.mp4@.*(corrupt|broken)") as warned:
        shown = [(clip.name, numbers(clip.frames)) for clip in epoch(clips, range(30))]
    assert clips.skipped
    assert all("b.mp4@" in name for name in clips.skipped)
    assert not {name for name, _ in shown} & set(clips.skipped)
    assert len(warned) == len(clips.skipped)
    for name, frames in shown:
        start = round(float(name.split("@")[1][:-1]) * 10)
        assert frames == list(range(start, start + 5))
    starts = [float(name.split("@")[1][:-1]) for name, _ in shown if "b.mp4@" in name]
    assert min(starts) <= 0.7, "what lies before the damage is sound"
    assert max(starts) >= 2.4, "nor does it matter to what begins with a later key frame, at 2.4 s"
    lines = [json.loads(line) for line in (folder.with_name("cache") / "skipped.jsonl").read_text().splitlines()]
    assert {line["clip"]: line["why"] for line in lines} == dict(clips.skipped)
    assert len(lines) == len(clips.skipped)


@pytest.mark.filterwarnings("ignore:skipped a broken clip")
def test_stand_ins_are_the_same_whenever_the_fault_is_met(folder: Path) -> None:
    spoil(folder / "b.mp4")
    straight = clip_set(folder)
    names = [[clip.name for clip in epoch(straight, range(k, k + 1))] for k in range(12)]
    resumed = clip_set(folder)
    for k in reversed(range(12)):
        assert [clip.name for clip in epoch(resumed, range(k, k + 1))] == names[k]
    assert dict(resumed.skipped) == dict(straight.skipped)
    lines = (folder.with_name("cache") / "skipped.jsonl").read_text().splitlines()
    assert len(lines) == len(straight.skipped), "a second run writes nothing twice"


def test_a_video_cut_short_behind_its_header(folder: Path) -> None:
    data = (folder / "c.mp4").read_bytes()
    (folder / "c.mp4").write_bytes(data[: len(data) * 2 // 3])
    clips = clip_set(folder)
    with pytest.warns(UserWarning, match=r"c.mp4@"):
        assert len(list(epoch(clips, range(30)))) == 120
    assert all("c.mp4@" in name for name in clips.skipped)
    (ref,) = [r for r in clips.draw(1, torch.Generator().manual_seed(0), images=False, part=All())]
    assert clips.load(ref).name == clips.name(ref)


def test_what_is_no_video_is_named_at_once_and_once(folder: Path) -> None:
    (folder / "a.mp4").write_bytes(b"no video")
    (folder / "empty.mkv").touch()
    with pytest.warns(UserWarning, match="skipped a broken clip") as warned:
        clips = clip_set(folder)
    assert sorted(name.split("/")[-1] for name in clips.skipped) == ["a.mp4", "empty.mkv"]
    assert len(warned) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {clip.name.split("/")[-1][0] for clip in epoch(clips, range(8))} == {"b", "c"}


def test_a_file_that_vanishes_is_replaced_by_the_draw(folder: Path) -> None:
    clips = clip_set(folder)
    (folder / "a.mp4").unlink()
    with pytest.warns(UserWarning, match=r"a.mp4: a file cannot be read"):
        assert {clip.name.split("/")[-1][0] for clip in epoch(clips, range(8))} == {"b", "c"}
    assert [name.split("/")[-1] for name in clips.skipped] == ["a.mp4"]


def test_a_file_that_table_lists_and_nobody_finds(folder: Path) -> None:
    (folder / "metadata.csv").write_text("file,caption\nb.mp4,x\nlost.mp4,y\n")
    with pytest.warns(UserWarning, match=r"lost.mp4.*missing"):
        assert clip_set(folder).captions() == ["x"]


def test_a_broken_image(folder: Path) -> None:
    for k, name in enumerate(("x.png", "y.png")):
        noise = np.random.default_rng(k).integers(0, 255, (60, 90, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name)
    data = (folder / "x.png").read_bytes()
    (folder / "x.png").write_bytes(data[: len(data) // 2])
    clips = clip_set(folder)
    with pytest.warns(UserWarning, match=r"x.png: .*not a readable image"):
        assert {clip.name.split("/")[-1] for clip in epoch(clips, range(5), images=True)} == {"y.png"}
    assert [name.split("/")[-1] for name in clips.skipped] == ["x.png"]


@pytest.mark.filterwarnings("ignore:skipped a broken clip")
def test_only_if_all_are_broken_it_ends(folder: Path) -> None:
    clips = clip_set(folder, frames=38)
    for name in ("a", "b"):
        spoil(folder / f"{name}.mp4")
    assert {clip.name.split("/")[-1][0] for clip in epoch(clips, range(5))} == {"c"}
    spoil(folder / "c.mp4")
    again = clip_set(folder, frames=38)
    with pytest.raises(ValueError, match=r"all 9 clips are broken, the last of them .*mp4@"):
        list(epoch(again, range(5)))
    for name in ("a", "b", "c"):
        (folder / f"{name}.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"all 3 videos and images are broken; .*a.mp4"):
        clip_set(folder)


@pytest.mark.filterwarnings("ignore:skipped a broken clip")
def test_where_all_of_one_shape_are_broken_another_stands_in(tmp_path: Path, encode: Encode) -> None:
    """A batch of the lost bucket is of one other bucket, and the same whenever the fault was met."""
    encode(tmp_path / "data" / "low.mp4", 40)
    encode(tmp_path / "data" / "high.mp4", 45, size=(80, 48))
    spoil(tmp_path / "data" / "low.mp4")

    def made() -> ClipSet:
        sizes, cache = [(24, 40), (40, 24)], tmp_path / "cache"
        return ClipSet([open_source(tmp_path / "data")], frames=38, fps=None, sizes=sizes, held_out=0, cache=cache)

    late, early = made(), made()
    drawn = [late.draw(4, torch.Generator().manual_seed(seed), images=False, part=All()) for seed in range(8)]
    assert {ref.size for refs in drawn for ref in refs} == {(24, 40), (40, 24)}
    shown = [[late.load_or_replace(ref) for ref in refs] for refs in drawn]
    assert {clip.frames.shape[1:3] for clips in shown for clip in clips} == {(40, 24)}
    with pytest.raises(BrokenClip):
        early.load(next(ref for refs in drawn for ref in refs if ref.size == (24, 40)))
    known = [late.draw(4, torch.Generator().manual_seed(seed), images=False, part=All()) for seed in range(8)]
    assert [[clip.ref for clip in clips] for clips in shown] == known


class Turned(FolderSource):
    """A source whose frames are not of the size its headers say, as where a stream changes it."""

    def read(self, item: int, times: object, *, within: float) -> ndarray:
        return super().read(item, times, within=within)[:, :, :-2]  # type: ignore[arg-type]


def test_frames_of_another_size(folder: Path) -> None:
    clips = ClipSet([Turned(folder)], frames=5, fps=None, sizes=[(24, 40)], cache=folder.with_name("cache"))
    (ref,) = clips.draw(1, torch.Generator().manual_seed(0), images=False, part=All())
    with pytest.raises(BrokenClip, match=r"mp4@.*its frames are \(48, 78\) pixels, not \(48, 80\)") as broken:
        clips.load(ref)
    assert broken.value.name == clips.name(ref)
