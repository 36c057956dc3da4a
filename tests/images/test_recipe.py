"""A recipe builds the predictor that its arguments describe."""

from __future__ import annotations

import numpy as np

from caffe_compat.images.recipe import Recipe
from caffe_compat.net.preprocess import Preprocess
from caffe_compat.pipeline import lower
from caffe_compat.runtime.models import to_bytes


def test_every_kind_of_model_and_further_blobs(classifier, images, tmp_path):
    prep = Preprocess(mean=(125, 123, 114))
    path = tmp_path / "n.onnx"
    lowered = lower(classifier)
    path.write_bytes(to_bytes(lowered))
    outputs = []
    for model in (classifier, lowered, path, str(path), path.read_bytes()):
        predictor = Recipe(model, prep, device="cpu", blobs=("pool3",), threads=1).predictor()
        (result,) = predictor([(images[0], None)])
        assert result.outputs["pool3"].shape == (64, 4, 4)
        outputs.append(result.outputs["prob"])
    for array in outputs[1:]:
        np.testing.assert_allclose(array, outputs[0], atol=1e-6)
