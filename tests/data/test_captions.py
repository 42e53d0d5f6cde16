"""Captions beside a dataset's videos."""

from pathlib import Path

import pytest

from cosmos_sim.data.captions import EpisodeCaption, read_captions, write_captions


def test_what_is_written_is_read(tmp_path: Path):
    assert read_captions(tmp_path) == {}
    captions = {7: EpisodeCaption("a red cube", {"wrist": "a hand"}), 2: EpisodeCaption('a "green" cube')}
    write_captions(tmp_path, captions)
    assert read_captions(tmp_path) == captions
    assert (captions[7].of("wrist"), captions[7].of("agentview")) == ("a hand", "a red cube")
    lines = (tmp_path / "meta" / "captions.jsonl").read_text().splitlines()
    assert lines[1] == '{"episode": 7, "caption": "a red cube", "cameras": {"wrist": "a hand"}}'
    assert '"episode": 2' in lines[0]
    assert "cameras" not in lines[0]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "3",
        '{"episode": 1}',
        '{"episode": -1, "caption": "a"}',
        '{"episode": 0, "caption": "a"}',
        '{"episode": 1, "caption": " "}',
        '{"episode": 1, "caption": "a", "cameras": {"wrist": 3}}',
    ],
)
def test_a_line_that_is_no_caption_is_named(tmp_path: Path, line: str):
    write_captions(tmp_path, {0: EpisodeCaption("a cube")})
    file = tmp_path / "meta" / "captions.jsonl"
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(ValueError, match=r"line 2 of .*captions.jsonl' is not a caption"):
        read_captions(tmp_path)
