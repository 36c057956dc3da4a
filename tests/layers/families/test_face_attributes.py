"""How near a net of face attributes is, beside what golden/layers_forks has."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import assert_close, feed, make, one_layer

BODY = 'type: "FaceAttriEvaluate" face_evaluate_param { facetype: %s }'


def test_an_error_of_one_landmark():
    """30 of 200 pixels to the right and 40 down, by the diagonal; and an angle of 60 degrees."""
    x, y = np.zeros((1, 17), np.float32), np.zeros((1, 17), np.float32)
    x[0, [0, 5]], x[0, 10], y[0, 15:] = [0.15, 0.2], 60, 200
    outputs = make(one_layer(BODY % "FACEATTRIBUTE", x.shape, y.shape)).forward({"a": x, "b": y})
    assert_close(
        outputs["y"].ravel(), [50 / np.hypot(200, 200), 0, 0, 0, 0, 1, 1, 0.5, 1, 1], axis=None
    )


def test_refused():
    with pytest.raises(UnsupportedError, match="FACEATTRIBUTE alone"):
        net = make(one_layer(BODY % "FACE_ANGLE", (1, 17), (1, 17)))
        net.forward(feed(net))
    with pytest.raises(ShapeError, match="rows of 17"):
        make(one_layer(BODY % "FACEATTRIBUTE", (1, 16), (1, 17)))
