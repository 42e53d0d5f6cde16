import json

import pytest

from cosmos_sim.data.dreams import FILE, DreamRecord, DreamStart, is_dreamt, read_dreams, write_dreams

RECORDS = (
    DreamRecord(
        0, "lift the red cube", 7, DreamStart(3, 11, "Tabletop", "seen"), True, {"cycle": 0.25}, {"model": "m"}
    ),
    DreamRecord(1, "赤い立方体を持ち上げて", 8, DreamStart(), False),
)


def told(**changes):
    line = {"episode": 0, "instruction": "lift", "start": {"seed": 1, "source_episode": None}, "seed": 2}
    return json.dumps({**line, "scores": {}, "accepted": True, **changes})


def test_what_is_written_is_read(tmp_path):
    assert not is_dreamt(tmp_path)
    write_dreams(tmp_path, RECORDS)
    assert is_dreamt(tmp_path)
    assert read_dreams(tmp_path, episodes=2) == RECORDS
    first = json.loads((tmp_path / FILE).read_text(encoding="utf-8").splitlines()[0])
    assert first["start"] == {"seed": 3, "source_episode": 11, "task": "Tabletop", "split": "seen"}
    assert first["model"] == "m"


def test_the_contract_of_a_line_is_enough(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / FILE).write_text(told(episode=1) + "\n" + told(instruction="push", note=[1]) + "\n")
    first, second = read_dreams(tmp_path, episodes=2)
    assert (first.instruction, first.start, first.more) == ("push", DreamStart(seed=1), {"note": [1]})
    assert second.episode == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "is not a dream's: Expecting"),
        ("", "is not a dream's: Expecting"),
        ("[1]", r"should be an object, got \[1\]"),
        ('{"episode": 1}', "it lacks instruction, seed, start, accepted"),
        (told(episode=1, instruction=" "), "not empty, got ' '"),
        (told(episode=1, accepted="yes"), "true or false, got 'yes'"),
        (told(episode=True), "from 0 on, got True"),
        (told(episode=1, start={"seed": -3}), "seed should be a whole number from 0 on, got -3"),
        (told(episode=1, start=5), "objects, got 5"),
        (told(episode=1, start={"split": 4}), "split of the start should be a text, got 4"),
        (told(episode=2), r"tells of episode 2, but there are 0 \.\. 1"),
        (told(), "tells of episode 0 once more"),
        (told(episode=1).encode() + b"\xff", "is not a dream's: 'utf-8' codec"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, words):
    (tmp_path / "meta").mkdir()
    data = line if isinstance(line, bytes) else line.encode()
    (tmp_path / FILE).write_bytes(told().encode() + b"\n" + data + b"\n")
    with pytest.raises(ValueError, match=words) as caught:
        read_dreams(tmp_path, episodes=2)
    assert "line 2 of" in str(caught.value)


def test_what_no_line_tells_of_was_recorded(tmp_path):
    with pytest.raises(ValueError, match="holds no dreams"):
        read_dreams(tmp_path, episodes=1)
    write_dreams(tmp_path, RECORDS[1:])
    assert read_dreams(tmp_path, episodes=4) == RECORDS[1:]
