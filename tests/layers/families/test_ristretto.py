"""Quantized layers, which are their float32 originals, and are logged as such."""

from __future__ import annotations

import numpy as np
import pytest

from ...cases import check_both, one_layer

WEIGHTS = 'weight_filler { type: "gaussian" }'
SIZES = f"num_output: 4 kernel_size: 3 {WEIGHTS}"
BODIES = {
    "Convolution": f"convolution_param {{ {SIZES} }}",
    "Deconvolution": f"convolution_param {{ {SIZES} }}",
    "InnerProduct": f"inner_product_param {{ num_output: 4 {WEIGHTS} }}",
    "LRN": "lrn_param { local_size: 3 }",
}
FIELDS = "quantization_param { bw_params: 8 fl_params: 7 scale_in: 3.5 precision: MINIFLOAT }"


@pytest.mark.parametrize("kind", BODIES)
def test_as_in_float32(kind, caplog):
    shape = (2, 3, 7, 9)
    plain = check_both(one_layer(f'type: "{kind}" {BODIES[kind]}', shape))["y"]
    ristretto = {"InnerProduct": "Fc"}.get(kind, kind) + "Ristretto"
    for other in (kind, ristretto):
        caplog.clear()
        text = one_layer(f'type: "{other}" {BODIES[kind]} {FIELDS}', shape)
        assert np.array_equal(check_both(text)["y"], plain)
        assert "layer 'l': in float32" in caplog.text
