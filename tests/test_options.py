"""The options of the line: checked when packed, with one default for each."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest

from caffe_compat import pipeline
from caffe_compat.errors import CaffeCompatError
from caffe_compat.options import Copying, Filling, Onnx, Reading


@pytest.mark.parametrize(
    ("options", "keyword", "value"),
    [(Reading, "phase", "test"), (Reading, "phase", "DEPLOY"), (Filling, "slopes", "on")],
)
def test_a_word_that_is_none_is_refused(options, keyword, value):
    with pytest.raises(CaffeCompatError, match=f"{keyword} is '{value}'; it is "):
        options(**{keyword: value})


@pytest.mark.parametrize(
    ("options", "keyword", "value"),
    [
        (Reading, "inputs", {"data": "1x3x8x8"}),
        (Reading, "inputs", {"data": 5}),
        (Reading, "inputs", {"data": (1, 2.5)}),
        (Reading, "inputs", [1, 3, 8, 8]),
        (Reading, "batch", "5"),
        (Reading, "level", "a"),
        (Reading, "fork", 3),
        (Reading, "until", 3),
        (Reading, "stages", None),
        (Filling, "seed", "7"),
        (Onnx, "weights_as", "beside"),
    ],
)
def test_an_option_of_another_kind_is_refused(options, keyword, value):
    with pytest.raises(CaffeCompatError) as caught:
        options(**{keyword: value})
    assert str(caught.value).startswith(f"{keyword} is {value!r}; it ")


def test_numpy_sizes_are_sizes():
    reading = Reading(inputs={"data": np.array([1, 3])}, batch=np.int64(2))
    assert reading.batch == 2


@pytest.mark.parametrize("value", ["deploy", ["deploy"], ("deploy",)])
def test_one_name_is_a_list_of_one(value):
    assert (Reading(stages=value).stages, Onnx(blobs=value).blobs) == (("deploy",), ("deploy",))


def test_a_phase_has_caffes_number():
    assert (Reading(phase="TRAIN").number, Reading().number) == (0, 1)


@pytest.mark.parametrize(
    ("function", "groups"),
    [
        (pipeline.read, [Reading]),
        (pipeline.load, [Reading, Filling, Copying]),
        (pipeline.fill, [Filling]),
        (pipeline.lower, [Onnx]),
        (pipeline.to_onnx, [Onnx]),
        (pipeline.convert, [Reading, Filling, Copying, Onnx]),
    ],
)
def test_public_keywords_are_the_options_with_their_defaults(function, groups):
    keywords = {
        name: parameter.default or None
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    fields = {
        field.name: getattr(group(), field.name) or None
        for group in groups
        for field in dataclasses.fields(group)
    }
    left_out = set(fields) - set(keywords)
    # Of no use where they are left out; `find` stands for the consent of `--data net` alone.
    assert left_out <= {"splits", "weights_as", "find"}
    assert keywords == {name: value for name, value in fields.items() if name not in left_out}
