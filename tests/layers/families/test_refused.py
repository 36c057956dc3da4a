"""Types that are known and refused, with the reason and a way on."""

from __future__ import annotations

import pytest

from caffe_compat.errors import UnsupportedError

from ...cases import graph_of, one_layer

REASONS = {
    "TripletLoss": "forks define differently",
    "SampleTriplet": "at random",
    "LargeMarginInnerProduct": "number of passes",
    "MarginInnerProduct": "first bottom",
    "DenseBlock": "BatchNorm, Scale, ReLU",
}


@pytest.mark.parametrize("kind", REASONS)
def test_reason_and_way_on(kind):
    with pytest.raises(UnsupportedError, match=rf"'l' \({kind}\): .*{REASONS[kind]}") as error:
        graph_of(one_layer(f'type: "{kind}"', (2, 3), (2,)))
    assert error.value.changes == ({"leave_out": (kind,)},)
    assert "leave_out" in error.value.remedies
