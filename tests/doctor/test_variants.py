"""The same net under other fillers."""

from __future__ import annotations

import pytest

from caffe_compat.doctor import Variant, refill, variant
from caffe_compat.errors import ParseError

from ..cases import graph_of
from .nets import one
from .zoo import resnet


def test_bilinear_upsampling_stays():
    up = (
        'layer { name: "up" type: "Deconvolution" bottom: "data" top: "up" convolution_param { '
        "num_output: 6 group: 6 kernel_size: 4 stride: 2 bias_term: false "
        'weight_filler { type: "bilinear" } } }'
    )
    graph = graph_of(one(up))
    assert refill(graph, variant("msra")) == graph


def test_variants():
    assert variant("msra:auto") == Variant("msra:auto", variant("msra").filler, "auto")
    assert variant("msra:0.25").filler.a == 0.25
    assert variant("gaussian:0.02").filler.std == pytest.approx(0.02)
    for text in ("", "glorot", "xavier:2", "msra:automatic"):
        with pytest.raises(ParseError, match="is no"):
            variant(text)


def test_residual_is_told_by_name():
    assert variant("msra:residual") == Variant("msra:residual", variant("msra").filler, "residual")
    graph = graph_of(resnet(2, norm=False))
    changed = refill(graph, variant("msra:residual"))
    types = {n.blobs[0].filler.type for n in changed.nodes if n.layer.type == "Convolution"}
    assert types == {"gaussian"}
