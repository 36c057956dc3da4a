"""Sampled cuts: drawn together as one by one."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format

from caffe_compat.caffe_pb2 import BatchSampler
from caffe_compat.data.ssd import sampling
from caffe_compat.data.streams import Engine
from caffe_compat.errors import ShapeError

from .test_boxes import common, made

BOXES = made([0.1, 0.1, 0.4, 0.5], [0.5, 0.5, 0.9, 0.95])


def sampler(text):
    return text_format.Parse(text, BatchSampler())


def uniform(engine, low, high):
    return engine.uniform(low, high, 1)[0]


def one_by_one(p, engine):
    """Sample as GenerateSamples does, with numpy's scalars in place of C's."""
    found = []
    for _ in range(p.max_trials):
        if p.HasField("max_sample") and len(found) >= p.max_sample:
            break
        scale = uniform(engine, p.sampler.min_scale, p.sampler.max_scale)
        ratio = uniform(engine, p.sampler.min_aspect_ratio, p.sampler.max_aspect_ratio)
        ratio = max(ratio, np.float32(float(scale) ** 2))
        ratio = min(ratio, np.float32(1 / float(scale) ** 2))
        width = np.float32(float(scale) * float(ratio) ** 0.5)
        height = np.float32(float(scale) / float(ratio) ** 0.5)
        left = uniform(engine, 0, np.float32(1) - width)
        top = uniform(engine, 0, np.float32(1) - height)
        cut = np.array([left, top, left + width, top + height], np.float32)
        constraint = p.sample_constraint
        if not constraint.HasField("min_jaccard_overlap"):
            found.append(cut)
            continue
        for box in BOXES.corners:
            part = common(cut, box)
            both = (part[2] - part[0]) * (part[3] - part[1])
            areas = [(each[2] - each[0]) * (each[3] - each[1]) for each in (cut, box)]
            if both / (sum(areas) - both) >= np.float32(constraint.min_jaccard_overlap):
                found.append(cut)
                break
    return found


@pytest.mark.parametrize(
    "text",
    [
        "max_trials: 1 max_sample: 1",
        "max_trials: 7",
        "max_trials: 0",
        "sampler { min_scale: 0.3 min_aspect_ratio: 0.5 max_aspect_ratio: 2 } max_trials: 30",
        "sampler { min_scale: 0.3 min_aspect_ratio: 0.5 max_aspect_ratio: 2 }"
        " sample_constraint { min_jaccard_overlap: 0.3 } max_sample: 2 max_trials: 50",
        "sampler { min_scale: 0.3 } sample_constraint { min_jaccard_overlap: 0.2 } max_sample: 1",
        "sampler { min_scale: 0.5 max_scale: 0.5 } max_trials: 9",
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_the_cuts_and_the_stream_are_as_one_by_one(text, seed):
    p, engine, other = sampler(text), Engine(seed), Engine(seed)
    expected = one_by_one(p, other)
    chosen = sampling.sample([p], BOXES, engine)
    if expected:
        np.testing.assert_array_equal(chosen, expected[other.next_u32() % len(expected)])
    else:
        assert chosen is None
    assert engine.next_u32() == other.next_u32()


def test_only_the_first_constraint_counts():
    """As the branch has it, where a box that met one test is never taken back."""
    p = sampler("sample_constraint { min_jaccard_overlap: 0 min_object_coverage: 2 } max_trials: 1")
    assert sampling.sample([p], BOXES, Engine(1)) is not None
    p = sampler("sample_constraint { min_object_coverage: 2 } max_trials: 5")
    assert sampling.sample([p], BOXES, Engine(1)) is None


def test_samplers_of_other_images_give_nothing():
    assert sampling.sample([sampler("use_original_image: false")], BOXES, Engine(1)) is None


@pytest.mark.parametrize(
    "text",
    [
        "min_scale: 0",
        "max_scale: 1.5",
        "min_scale: 0.5 max_scale: 0.4",
        "min_aspect_ratio: 0",
        "max_aspect_ratio: 0.5",
        "max_aspect_ratio: inf",
    ],
)
def test_what_the_branch_refuses(text):
    with pytest.raises(ShapeError, match="sampler: 0 < min_"):
        sampling.check([sampler(f"sampler {{ {text} }}")])
