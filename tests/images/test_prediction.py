"""Many images: batches, progress, and a batch that suits their number."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.images import prediction
from caffe_compat.images.prediction import load_batched, predict
from caffe_compat.images.recipe import Recipe
from caffe_compat.net.preprocess import Preprocess
from caffe_compat.options import Reading
from caffe_compat.progress import show_progress

from .conftest import CIFAR


@pytest.fixture
def recipe(classifier):
    return Recipe(classifier, Preprocess(mean=(125, 123, 114)), device="cpu")


@pytest.mark.parametrize("batch", [None, 1, 3, 7])
def test_results_do_not_depend_on_the_batch(recipe, images, batch):
    want = recipe.predictor()([(name, None) for name in images])
    seen = []

    def display(items, caption, total):
        seen.append((caption, total))
        return items

    with show_progress(display):
        results = list(predict(recipe, images, batch=batch))
    assert seen == [("running", -(-7 // (batch or prediction.BATCH)))]
    assert [result.name for result in results] == images
    for result, other in zip(results, want, strict=True):
        assert result.error == other.error
        for name, array in other.outputs.items():
            np.testing.assert_allclose(result.outputs[name], array, atol=1e-6)


def test_the_engine_ray_is_asked_for_the_same_batches(recipe, images, monkeypatch):
    calls = []

    def run(recipe, parts, workers):
        calls.append((parts, workers))
        return (recipe.predictor()([(name, None) for name in part]) for part in parts)

    monkeypatch.setattr(prediction.ray, "run", run)
    results = list(predict(recipe, images, engine="ray", workers=2, batch=4))
    assert calls == [([images[:4], images[4:]], 2)]
    assert [result.name for result in results] == images


@pytest.mark.parametrize(
    ("count", "reading", "batch"),
    [
        (3, Reading(), 3),
        (100, Reading(), prediction.BATCH),
        (3, Reading(batch=5), 5),
        (3, Reading(inputs={"data": (2, 3, 32, 32)}), 2),
    ],
)
def test_the_batch_suits_the_number_of_images(count, reading, batch):
    net = load_batched(CIFAR / "net.prototxt", None, count, reading)
    assert net.graph.inputs[0].shape == (batch, 3, 32, 32)


def test_a_layer_that_fixes_the_batch_keeps_it(tmp_path):
    (tmp_path / "net.prototxt").write_text(
        'input: "x" input_shape { dim: 1 dim: 3 dim: 4 dim: 4 }'
        'layer { name: "r" type: "Reshape" bottom: "x" top: "y" '
        "reshape_param { shape { dim: 1 dim: 48 } } }"
    )
    net = load_batched(tmp_path / "net.prototxt", None, 5)
    assert net.graph.inputs[0].shape == (1, 3, 4, 4)
