"""What a model's folder tells of itself is read as far as it can be."""

import json

import pytest

from tribute.diffusion.told import STUDENT_STEPS, Told, read_smoothing, told_of, write_smoothing


@pytest.mark.parametrize("said", ["[]", "{", "7", '{"smoothing": [1]}', '{"smoothing": 0.5}', '{"smoothing": null}'])
def test_what_cannot_be_read_says_nothing(tmp_path, said):
    (tmp_path / "tribute.json").write_text(said, encoding="utf-8")
    assert told_of(tmp_path) == Told()


def test_a_folder_that_tells_nothing_says_nothing(tmp_path):
    assert told_of(tmp_path) == Told(None, STUDENT_STEPS, {})


def test_strengths_that_fit_are_read_by_words_in_lower_case(tmp_path):
    odd = {"more": 0.2, "less": -0.1, "true": True, "text": "0.1", "none": None, "list": [0.1], "long" * 21: 0.01, "a\nb": 0.01}
    (tmp_path / "tribute.json").write_text(json.dumps({"smoothing": {**odd, "": 0.004, "Glossy 3D": 0, "扁平": 0.1}}), encoding="utf-8")
    assert told_of(tmp_path).smoothing == {"": 0.004, "glossy 3d": 0.0, "扁平": 0.1}
    (tmp_path / "tribute.json").write_text('{"smoothing": {"a": NaN, "b": Infinity}}', encoding="utf-8")
    assert told_of(tmp_path).smoothing == {}
    (tmp_path / "tribute.json").write_text(json.dumps({"smoothing": {str(at): 0.01 for at in range(999)}}), encoding="utf-8")
    assert len(told_of(tmp_path).smoothing) == 64


def test_what_a_run_was_measured_to_need_is_kept(tmp_path):
    assert read_smoothing(tmp_path / "run") == {}
    write_smoothing(tmp_path / "run", {"": 0.004, "扁平": 0.016})
    assert read_smoothing(tmp_path / "run") == {"": 0.004, "扁平": 0.016}
