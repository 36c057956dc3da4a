"""blobFromImage and NMSBoxes beside OpenCV 4.14's recorded answers (golden/opencv/record.py)."""

from __future__ import annotations

import json

import numpy as np
import pytest

from caffe_compat import dnn

from ..cases import GOLDEN, assert_close

BLOBS = dict(np.load(GOLDEN / "opencv" / "blobs.npz"))


KEYWORDS = json.loads(str(BLOBS["cases"]))


@pytest.mark.parametrize("case", range(len(KEYWORDS)))
def test_blobs_are_opencvs_bit_for_bit(case):
    image, keywords = BLOBS[f"image{case}"], KEYWORDS[case]
    made = dnn.blobFromImage(image, **keywords)
    assert made.dtype == BLOBS[f"blob{case}"].dtype
    np.testing.assert_array_equal(made, BLOBS[f"blob{case}"])
    if f"float{case}" in BLOBS:
        made = dnn.blobFromImage(image.astype(np.float32), **keywords)
        assert_close(made, BLOBS[f"float{case}"], 1e-6)


def test_several_pictures_take_the_size_of_the_first():
    images = [BLOBS["image0"], BLOBS["image4"]]
    made = dnn.blobFromImages(images, 0.5, mean=(1, 2, 3))
    assert made.shape == (2, 3, 23, 17)
    np.testing.assert_array_equal(made[:1], dnn.blobFromImage(images[0], 0.5, mean=(1, 2, 3)))
    np.testing.assert_array_equal(made[1:], dnn.blobFromImage(images[1], 0.5, (17, 23), (1, 2, 3)))


@pytest.mark.parametrize("case", range(len(BLOBS["nms"])))
def test_nms_boxes(case):
    score, overlap, eta, top = BLOBS["nms"][case]
    kept = dnn.NMSBoxes(
        BLOBS["boxes"].tolist(), BLOBS["scores"].tolist(), score, overlap, eta, int(top)
    )
    assert list(kept) == list(BLOBS[f"kept{case}"])
