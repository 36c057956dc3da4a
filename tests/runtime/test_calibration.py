"""The ranges of a model's tensors."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import CaffeCompatError, ShapeError
from caffe_compat.onnx.lowering import lower
from caffe_compat.runtime.calibration import calibrate

from ..cases import feed


def test_ranges_are_min_and_max_over_all_feeds(net):
    feeds = [feed(net, seed) for seed in range(3)]
    ranges = calibrate(lower(net), feeds)
    values = [net.run(each) for each in feeds]
    for name in ("data", "conv1", "fc"):
        want = (min(v[name].min() for v in values), max(v[name].max() for v in values))
        assert ranges[name] == pytest.approx(want, rel=1e-5, abs=1e-6)
    assert ranges["data"][0] < min(feeds[0]["data"].min(), 0)  # of another run than the first


def test_no_feeds_are_refused(net):
    with pytest.raises(ShapeError, match="feeds is empty"):
        calibrate(lower(net), [])


def test_feeds_that_do_not_fit_are_an_error(net):
    with pytest.raises(CaffeCompatError, match="onnxruntime cannot calibrate the model"):
        calibrate(lower(net), [{"data": np.zeros((1, 2), np.float32)}])
