"""NaN and infinity where Caffe compares: what real Caffe gave for the same arrays."""

from __future__ import annotations

import numpy as np
import pytest

from ..cases import make, one_layer

NAN, INF = float("nan"), float("inf")
A = [[NAN, 1, 2, 3, NAN, -1], [1, NAN, 0, 3, -2, NAN], [NAN] * 6, [-3, -2, NAN, INF, -INF, NAN]]
B = [[0, NAN, 1, NAN, NAN, 5], [NAN, 2, -1, NAN, INF, NAN], [1] * 6, [NAN, -INF, NAN, NAN, NAN, 2]]
C = [[NAN, 0, NAN, 1, NAN, 2]] * 4
LABELS = [1, 3, 0, 4]
LOWEST = np.finfo(np.float32).min

MAX = 'type: "Eltwise" eltwise_param { operation: MAX }'
POOL = 'type: "Pooling" pooling_param { pool: MAX kernel_size: 2 }'

# A layer, its bottoms, and real Caffe's top.
RECORDED = [
    (
        MAX,
        (A, B),
        [
            [0, NAN, 2, NAN, NAN, 5],
            [NAN, 2, 0, NAN, INF, NAN],
            [1] * 6,
            [NAN, -2, NAN, NAN, NAN, 2],
        ],
    ),
    (
        MAX,
        (A, B, C),
        [
            [0, NAN, 2, NAN, NAN, 5],
            [NAN, 2, 0, NAN, INF, NAN],
            [1, 1, 1, 1, 1, 2],
            [NAN, 0, NAN, NAN, NAN, 2],
        ],
    ),
    (
        'type: "Clip" clip_param { min: -1 max: 2 }',
        (A,),
        [[-1, 1, 2, 2, -1, -1], [1, -1, 0, 2, -1, -1], [-1] * 6, [-1, -1, -1, 2, -1, -1]],
    ),
    ('type: "ArgMax" argmax_param { axis: 1 }', (A,), [[5], [5], [5], [5]]),
    (
        'type: "ArgMax" argmax_param { out_max_val: true }',
        (A,),
        [[[5], [-1]], [[5], [NAN]], [[5], [NAN]], [[5], [NAN]]],
    ),
    ('type: "ArgMax" argmax_param { axis: 1 }', ([[NAN, 1, 2, 3]],), [[3]]),
    ('type: "ReLU"', ([[NAN, -INF, INF, -1]],), [[NAN, NAN, INF, 0]]),
    ('type: "Threshold" threshold_param { threshold: 0.5 }', ([[NAN, 1, 0]],), [[0, 1, 0]]),
    ('type: "HingeLoss"', (A, LABELS), INF),
    (POOL, ([[[[NAN, 1], [-2, NAN]], [[NAN, NAN], [NAN, NAN]]]],), [[[[1]], [[LOWEST]]]]),
]


@pytest.mark.parametrize(("layer", "bottoms", "top"), RECORDED)
def test_numpy_gives_what_caffe_gives(layer, bottoms, top):
    arrays = [np.array(bottom, np.float32) for bottom in bottoms]
    net = make(one_layer(layer, *[array.shape for array in arrays]))
    with np.errstate(invalid="ignore"):
        y = net.forward(dict(zip("abc", arrays, strict=False)))["y"]
    np.testing.assert_array_equal(y, np.array(top, np.float32))
