"""Nets and OpenCV 4.14's recorded answers (golden/opencv/record.py)."""

from __future__ import annotations

import re

from caffe_compat import dnn

from ..cases import GOLDEN

MTCNN = GOLDEN.parents[1] / "examples" / "mtcnn" / "models"
FOLDERS = {
    "lenet": GOLDEN / "models" / "lenet",
    "finemapping": GOLDEN / "models" / "hyperlpr_finemapping",
    "det1": MTCNN / "det1",
    "det2": MTCNN / "det2",
    "det3": MTCNN / "det3",
    "hyperlpr_ssd": GOLDEN / "models" / "hyperlpr_ssd",
    "ultraface": GOLDEN / "models" / "ultraface_rfb320",
}


def read(name):
    """A net as record.py read it: Caffe's PriorBox cuts sizes to whole numbers, OpenCV's not."""
    folder = FOLDERS[name]
    text = (folder / "net.prototxt").read_text()
    whole = re.sub(r"((?:min|max)_size: *\d+)\.\d+", r"\1", text)
    if whole != text:
        return dnn.readNetFromCaffe(whole.encode(), (folder / "weights.caffemodel").read_bytes())
    return dnn.readNetFromCaffe(str(folder / "net.prototxt"), str(folder / "weights.caffemodel"))
