"""MKL's types, beside those of BVLC Caffe."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import UnsupportedError

from ...cases import check_both, make, one_layer

SHAPE = (2, 3, 7, 9)


@pytest.mark.parametrize(
    "body",
    [
        'Convolution" convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { '
        'type: "gaussian" } }',
        'ReLU" relu_param { negative_slope: 0.1 }',
        'LRN" lrn_param { alpha: 0.5 local_size: 3 k: 2 }',
        'Pooling" pooling_param { kernel_size: 3 stride: 2 pad: 1 }',
        'Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 2 }',
    ],
)
def test_the_same(body):
    outputs = [check_both(one_layer(f'type: "{kind}{body}', SHAPE))["y"] for kind in ("MKL", "")]
    assert np.array_equal(*outputs)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('"MKLLRN" lrn_param { norm_region: WITHIN_CHANNEL }', "ACROSS_CHANNELS"),
        ('"MKLPooling" pooling_param { pool: AVE kernel_size: 3 pad: 1 }', "AVE with a pad"),
        ('"MKLPooling" pooling_param { pool: STOCHASTIC kernel_size: 3 }', "MAX and AVE"),
    ],
)
def test_refused(body, words):
    with pytest.raises(UnsupportedError, match=words):
        make(one_layer(f"type: {body}", SHAPE))
