"""Templates: what may stand where, what is drawn from a seed, and what is said of a faulty one."""

import json
import re
from pathlib import Path

import pytest

from cosmos_sim.augmentation.template import Template, load_template, template_names

TEXT = "a robot faces [TABLE]. there is [COLOR] cube. [LIGHT] end"
SLOTS = {
    "TABLE": ("a [CLOTH] cloth", "an oak table"),
    "CLOTH": ("blue", "red"),
    "COLOR": ("a green", "a pink"),
    "LIGHT": ("",),
}


def test_every_prompt_is_made_of_the_slots_own_texts() -> None:
    template = Template("toy", TEXT, SLOTS, {"wrist": "[COLOR] cube on [TABLE]"})
    tables = {"a blue cloth", "a red cloth", "an oak table"}
    seen = set()
    for episode in range(40):
        prompt = template.sample(seed=3, episode=episode, variant=1)
        assert prompt.slots["TABLE"] in tables
        assert prompt.caption.caption == (
            f"a robot faces {prompt.slots['TABLE']}. there is {prompt.slots['COLOR']} cube. end"
        )
        assert prompt.caption.of("wrist") == f"{prompt.slots['COLOR']} cube on {prompt.slots['TABLE']}"
        assert prompt.caption.of("front") == prompt.caption.caption
        seen.add(prompt.slots["TABLE"])
    assert seen == tables


def test_the_same_numbers_give_the_same_prompt_and_other_numbers_others() -> None:
    template = load_template("tabletop")
    first = [template.sample(seed=1, episode=4, variant=v) for v in range(5)]
    assert first == [template.sample(seed=1, episode=4, variant=v) for v in range(5)]
    assert first[2] != template.sample(seed=2, episode=4, variant=2)
    assert first[2] != template.sample(seed=1, episode=5, variant=2)


def test_variants_of_an_episode_differ_in_every_slot_while_its_texts_last() -> None:
    template = Template("toy", "[A] and [B]", {"A": tuple("abcde"), "B": tuple("xyz")})
    prompts = [template.sample(seed=0, episode=7, variant=v) for v in range(5)]
    assert {prompt.slots["A"] for prompt in prompts} == set("abcde")
    assert {prompt.slots["B"] for prompt in prompts[:3]} == set("xyz")


def test_slots_that_are_to_differ_share_no_word() -> None:
    slots = {"TABLE": ("a red cloth", "a Blue desk", "an oak desk"), "CUBE": ("a red", "a light blue", "a pink")}
    free, bound = (Template("toy", "[CUBE] on [TABLE]", slots, differ=d) for d in ((), (("CUBE", "TABLE"),)))
    drawn = [[t.sample(seed=0, episode=e, variant=v).slots for e in range(30) for v in range(3)] for t in (free, bound)]
    clash = [sum({"red", "blue"} & set(d["TABLE"].lower().split()) & set(d["CUBE"].split()) != set() for d in some)
             for some in drawn]  # fmt: skip
    assert clash[0] > 10
    assert clash[1] == 0
    with pytest.raises(ValueError, match="slots 'CUBE' and 'TABLE' are to differ"):
        bound.fill({"CUBE": "a red", "TABLE": "the red bench"})
    with pytest.raises(ValueError, match="'CUP', which is to differ, is no slot"):
        Template("toy", "[CUBE] on [TABLE]", slots, differ=(("CUP", "TABLE"),))


def test_the_texts_of_a_slot_come_equally_often() -> None:
    template = Template("toy", "[A]", {"A": tuple("abc")})
    counts = {"a": 0, "b": 0, "c": 0}
    for episode in range(600):
        counts[template.sample(seed=5, episode=episode, variant=0).slots["A"]] += 1
    assert all(abs(count - 200) < 5 * (600 * 2 / 9) ** 0.5 for count in counts.values())


def test_values_given_fill_the_slots_of_the_text() -> None:
    template = Template("toy", TEXT, SLOTS)
    assert template.places == ("TABLE", "COLOR", "LIGHT")
    prompt = template.fill({"TABLE": "a glass table", "COLOR": "a grey", "LIGHT": "It is dark."})
    assert prompt.caption.caption == "a robot faces a glass table. there is a grey cube. It is dark. end"
    for values, message in (
        ({"TABLE": "x", "COLOR": "y"}, "slot 'LIGHT' needs a text"),
        ({"TABLE": "x", "COLOR": "y\nz", "LIGHT": ""}, "slot 'COLOR' needs a text of one line"),
        ({"TABLE": "[CLOTH]", "COLOR": "y", "LIGHT": ""}, "slot 'TABLE' needs .* without brackets"),
        ({"CLOTH": "x"}, "not 'CLOTH'"),
    ):
        with pytest.raises(ValueError, match=message):
            template.fill(values)


@pytest.mark.parametrize(
    ("text", "slots", "message"),
    [
        ("[TABEL]", {"TABLE": ("x",)}, "nothing may stand in slot 'TABEL'; did you mean 'TABLE'"),
        ("[A]", {"A": ()}, "nothing may stand in slot 'A'"),
        ("[A]", {"A": ("x",), "B": ("y",)}, "slot 'B' stands in no text"),
        ("[A]", {"A": ("[B]",), "B": ("so [A]",)}, "slot 'A' holds itself: A > B > A"),
        (" ", {}, "a text is empty"),
    ],
)
def test_faulty_templates_are_named(text: str, slots: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Template("toy", text, slots)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ('{"slots": {}}', "is no template"),
        ('{"text": "[A]", "slot": {"A": ["x"]}}', "unknown field 'slot'; did you mean 'slots'"),
        ('{"text": "[A]", "slots": {"A": "x"}}', "slots must map names to lists"),
        ('{"text": "a", "cameras": {"wrist": 3}}', "cameras must map names to texts"),
    ],
)
def test_faulty_files_are_named(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "mine.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=re.escape(str(file))):
        load_template(file)
    with pytest.raises(ValueError, match=message):
        load_template(file)


def test_a_template_comes_back_from_its_file(tmp_path: Path) -> None:
    template = Template("mine", TEXT, SLOTS, {"wrist": "[COLOR] cube"}, (("COLOR", "TABLE"),))
    (tmp_path / "mine.json").write_text(json.dumps(template.as_json()))
    assert load_template(tmp_path / "mine.json") == template
    with pytest.raises(ValueError, match="did you mean 'kitchen'"):
        load_template("kichen")


@pytest.mark.parametrize("name", list(template_names()))
def test_the_packages_templates_make_many_prompts(name: str) -> None:
    template = load_template(name)
    prompts = {template.sample(seed=0, episode=e, variant=v).caption.caption for e in range(20) for v in range(5)}
    assert len(prompts) > 90
    assert not any(re.search(r"\[|\]|  | ,| \.", prompt) for prompt in prompts)


def test_the_lift_template_speaks_as_the_scenes_that_the_small_world_learned_from() -> None:
    from cosmos_sim.envs.twin.scene_words import CAPTION, KEPT_OUTLINES, WRIST_CAPTION

    template = load_template("lift")
    assert template.text == CAPTION
    assert template.cameras == {"wrist": WRIST_CAPTION}
    assert template.slots == KEPT_OUTLINES
