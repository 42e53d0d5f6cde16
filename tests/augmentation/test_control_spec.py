import pytest

from cosmos_sim.augmentation.control_spec import DEFAULT, ControlSpec, parse_control, parse_controls


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("edge", ControlSpec("edge", 1.0, "medium")),
        ("edge:1.0", ControlSpec("edge", 1.0, "medium")),
        ("edge@low:0.5", ControlSpec("edge", 0.5, "low")),
        ("blur:robot", ControlSpec("blur", 1.0, "very_low", "robot")),
        ("blur@very_low:robot:1.0", ControlSpec("blur", 1.0, "very_low", "robot")),
        ("seg:red cube: .25", ControlSpec("seg", 0.25, None, "red cube")),
        ("depth:0", ControlSpec("depth", 0.0)),
    ],
)
def test_a_word_and_back(text, expected):
    assert parse_control(text) == expected
    assert parse_control(str(expected)) == expected


def test_the_default_is_the_papers():
    assert parse_controls(["edge@medium:1.0", "blur@very_low:robot:1.0"]) == DEFAULT
    assert parse_controls(["edge:1.0", "blur:robot"]) == DEFAULT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("egde:1", "control 'egde:1': unknown control 'egde': did you mean 'edge'"),
        ("vis", "choose from edge, blur, depth, seg"),
        ("edge@lwo", "unknown preset of edge 'lwo': did you mean 'low'"),
        ("depth@low", "preset='low' would be ignored: depth has no presets"),
        ("edge:-1", "must be 0 or more, got -1.0"),
        ("edge:nan", "must be 0 or more, got nan"),
        ("edge@", "is not KIND"),
        ("blur:robot:table:1", "is not KIND"),
        ("blur::1", "the region of blur has no name"),
        ("", "unknown control ''"),
    ],
)
def test_what_cannot_be_read_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        parse_control(text)


def test_one_control_of_a_kind():
    with pytest.raises(ValueError, match=r"two controls of one kind: 'edge@medium:1.0' and 'edge@low:robot:0.5'"):
        parse_controls(["edge", "depth", "edge@low:robot:0.5"])
