import json
from dataclasses import replace
from pathlib import Path

import pytest

from cosmos_sim.world_model.request import NEGATIVE_PROMPT, Request, parse_resolution, read_requests

ASKED = {"name": "a", "inference_type": "text2world", "prompt": "a robot"}


def write(path: Path, value: object) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_one_request_of_nvidias_with_all_its_fields(tmp_path):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "pour.txt").write_text("  A robot pours tea.\n")
    asked = {
        "name": "pour",
        "inference_type": "video2world",
        "prompt_path": "prompts/pour.txt",
        "input_path": "pour.mp4",
        "negative_prompt": "blur",
        "seed": 7,
        "guidance": 3,
        "resolution": "432,768",
        "num_output_frames": 200,
        "num_steps": 20,
        "enable_autoregressive": True,
        "chunk_size": 77,
        "chunk_overlap": 5,
    }
    (found,) = read_requests(write(tmp_path / "one.json", asked))
    assert found == Request(
        name="pour",
        inference_type="video2world",
        prompt="A robot pours tea.",
        input_path=tmp_path / "pour.mp4",
        negative_prompt="blur",
        seed=7,
        guidance=3,
        resolution=(432, 768),
        num_output_frames=200,
        num_steps=20,
        enable_autoregressive=True,
        chunk_size=77,
        chunk_overlap=5,
    )
    (again,) = read_requests(write(tmp_path / "again.json", found.as_json()))
    assert again == replace(found, input_path=(tmp_path / "pour.mp4").resolve())


def test_jsonl_has_a_request_a_line(tmp_path):
    lines = [{**ASKED, "name": name, "seed": i} for i, name in enumerate("abc")]
    found = read_requests(write(tmp_path / "many.jsonl", "\n\n".join(json.dumps(line) for line in lines) + "\n"))
    assert [(r.name, r.seed) for r in found] == [("a", 0), ("b", 1), ("c", 2)]


def test_the_first_form_of_nvidias_shares_fields_between_samples(tmp_path):
    asked = {
        "inference_type": "image2world",
        "samples": {
            "weld": {"prompt": "sparks", "input_path": "weld.jpg"},
            "bus": {"prompt": "a bus", "input_path": "bus.jpg", "seed": 4},
        },
        "seed": 2,
        "negative_prompt": NEGATIVE_PROMPT,
    }
    weld, bus = read_requests(write(tmp_path / "samples.json", asked))
    assert (weld.name, weld.seed, weld.input_path, weld.given) == ("weld", 2, tmp_path / "weld.jpg", 1)
    assert (bus.name, bus.seed, bus.prompt) == ("bus", 4, "a bus")


def test_what_nvidias_files_may_hold_unused(tmp_path):
    asked = {**ASKED, "input_path": "a.jpg", "guidance": 0, "negative_prompt": "blur", "resolution": "none"}
    (found,) = read_requests(write(tmp_path / "a.json", [asked]))
    assert (found.input_path, found.negative_prompt, found.resolution) == (None, None, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sed": 1}, "unknown field 'sed': did you mean 'seed'"),
        ({"inference_type": "text2wold"}, "did you mean 'text2world'"),
        ({"inference_type": "image2world"}, "input_path=None does not go with image2world"),
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": "a\x00b"}, "control character"),
        ({"prompt": None}, "give prompt or prompt_path"),
        ({"prompt_path": "a.txt"}, "not both"),
        ({"seed": -1}, "seed must lie in .*-1"),
        ({"seed": "1"}, 'seed must be int, not "1"'),
        ({"seed": True}, "seed must be int, not true"),
        ({"guidance": -1}, "guidance must be finite and not negative, not -1"),
        ({"resolution": "0,320"}, "positive, not 0x320"),
        ({"resolution": "wide"}, "resolution must be .* not 'wide'"),
        ({"num_output_frames": 0}, "num_output_frames must be at least 1, not 0"),
        ({"num_steps": 0}, "num_steps must be at least 1, not 0"),
        ({"name": "../a"}, "name must be a file's name"),
        ({"fps": 0}, "fps must lie in"),
        ({"fps": 1e10}, "fps must lie in"),
    ],
)
def test_mistakes_name_the_file_and_the_field(tmp_path, change, message):
    with pytest.raises(ValueError, match=rf"(?s)bad\.json.*{message}"):
        read_requests(write(tmp_path / "bad.json", {**ASKED, **change}))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "is not valid JSON"),
        ("a.jsonl", json.dumps(ASKED) + "\n{oops\n", "line 2 is not valid JSON"),
        ("a.json", "3", "a request is an object, not 3"),
        ("a.json", "[]", "holds no request"),
        ("a.json", json.dumps([ASKED, ASKED]), "2 requests have the name 'a'"),
        ("a.yaml", "", r"\.json or \.jsonl, not \.yaml"),
    ],
)
def test_files_that_are_no_requests(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        read_requests(write(tmp_path / name, text))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\x00", "is no text: byte 0"),
        (b"", "is empty"),
        (b"a\x00b", "control character"),
        (None, "missing"),
    ],
)
def test_a_garbage_prompt_file(tmp_path, content, message):
    if content is not None:
        (tmp_path / "p.txt").write_bytes(content)
    asked = {"name": "a", "inference_type": "text2world", "prompt_path": "p.txt"}
    with pytest.raises(ValueError, match=rf"p\.txt.*{message}"):
        read_requests(write(tmp_path / "a.json", asked))


def test_resolutions():
    assert parse_resolution("720") == (704, 1280)
    assert parse_resolution("480p") == (480, 832)
    assert parse_resolution("192, 320") == (192, 320)
    assert parse_resolution([64, 80]) == (64, 80)
    assert parse_resolution("none") is parse_resolution(None) is None
