"""Outputs as classes, detections or statistics, also as JSON."""

from __future__ import annotations

import json

import numpy as np

from caffe_compat.images.answers import Classes, Detections, Statistics, answer
from caffe_compat.images.decode import Class, Detection
from caffe_compat.images.predictor import Result

RESULT = Result(
    "a.png",
    size=(40, 100),
    outputs={
        "prob": np.array([0.25, np.nan, 0.75]).reshape(3, 1, 1),
        "boxes": np.array([[0, 1, 0.5, 0, 0, 0.5, 1], [0, 2, 0.125, 0, 0, 1, 1]]),
        "map": np.array([[1.0, 2.0], [3.0, 6.0]]),
        "none": np.zeros((0, 4)),
    },
    detections=frozenset(["boxes"]),
)


def test_each_kind_of_output():
    decoded = answer(RESULT, count=1, labels=list("xyz"))
    assert decoded.outputs == {
        "prob": Classes((Class(2, "z", 0.75),)),
        "boxes": Detections((Detection(1, "y", 0.5, (0, 0, 50, 40)),)),
        "map": Statistics((2, 2), 3, 1, 6),
        "none": Statistics((0, 4), None, None, None),
    }
    assert decoded.nan == {"prob": 1}
    assert decoded.detections == [Detection(1, "y", 0.5, (0, 0, 50, 40))]
    assert len(answer(RESULT, threshold=0.1).detections) == 2


def test_no_detector_has_no_detections():
    assert answer(Result("a", outputs={"x": np.zeros((2, 2))})).detections is None
    empty = Result("a", outputs={"x": np.zeros((0, 7))}, detections=frozenset("x"))
    assert answer(empty).detections == []


def test_json():
    plain = json.loads(json.dumps(answer(RESULT, count=3).to_json(), allow_nan=False))
    assert plain["image"] == "a.png"
    assert plain["size"] == [40, 100]
    assert [each["score"] for each in plain["outputs"]["prob"]["top"]] == [0.75, 0.25, None]
    assert plain["outputs"]["boxes"]["detections"] == [
        {"index": 1, "label": None, "score": 0.5, "box": [0, 0, 50, 40]}
    ]
    assert plain["outputs"]["map"] == {"shape": [2, 2], "mean": 3, "min": 1, "max": 6}
    assert plain["nan"] == {"prob": 1}
    assert "nan" not in answer(Result("a")).to_json()
