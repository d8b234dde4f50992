import pytest

from tribute.create.prompt import in_own_words, read_prompt
from tribute.records import InvalidPrompt, StyleUse


def test_styles_come_from_options_and_tags():
    words, styles = read_prompt("a fox <style:micah:0.8> in snow", ["openmoji"])
    assert words == "a fox in snow"
    assert styles == (StyleUse(name="openmoji", weight=1.0), StyleUse(name="micah", weight=0.8))


def test_chinese_is_left_as_it_is():
    assert read_prompt("蓝色的心")[0] == "蓝色的心"


@pytest.mark.parametrize(
    ("prompt", "named", "says"),
    [
        ("", [], "empty"),
        ("  <style:micah> ", [], "empty"),
        ("x" * 10_000, [], "10,000 characters"),
        ("a\x00b", [], "control"),
        ("a", ["micah:3"], "from 0 to 2"),
        ("a", ["micah:-1"], "from 0 to 2"),
        ("a", ["micah:nan"], "from 0 to 2"),
        ("a", ["micah:much"], "from 0 to 2"),
        ("a", ["../x"], "cannot be a style's name"),
        ("a <style:Micah!>", [], "cannot be a style's name"),
        ("a <style:micah>", ["micah"], "named twice"),
        ("a", [f"s{n}" for n in range(9)], "at most"),
    ],
)
def test_bad_prompts_are_one_clear_line(prompt, named, says):
    with pytest.raises(InvalidPrompt, match=says):
        read_prompt(prompt, named)


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("puppy", "dog face"), ("a Puppy", "a dog face"), ("the red puppy, glossy 3D", "the red dog face, glossy 3D"), ("小狗", "狗脸"),
        ("一只小狗", "一只狗脸"), ("红色的小狗，光亮立体", "红色的狗脸，光亮立体"), ("红色小狗", "红色狗脸"), ("orange", "tangerine"),
        ("an orange orange", "an orange tangerine"),
        ("a happy puppy", "a happy dog face"), ("a small red puppy in a garden", "a small red dog face in a garden"), ("戴帽子的小狗", "戴帽子的狗脸"),
        ("a Puppy and an orange", "a dog face and an tangerine"), ("小狗和猫", "狗脸和猫"), ("a cat with a puppy", "a cat with a dog face"),
        *((same, same) for same in ("dog face", "a cat, puppy", "puppy love", "red", "红色", ", puppy", "a", "no words of it\nat all", "a sad dog face")),
        *((same, same) for same in (" and ", "puppy  love and", "的", "和", "a hot dog", "rock and roll", "a cat named puppyish")),
    ],
)  # fmt: skip
def test_a_prompt_s_thing_is_said_in_the_model_s_own_words(prompt, told):
    known = {"puppy": "dog face", "小狗": "狗脸", "orange": "tangerine", "dog": "dog face", "roll": "Bread", "music": "rock and roll", "wiener": "hot dog"}
    assert in_own_words(prompt, known) == told
    assert in_own_words(prompt, {}) == prompt
