"""extract_features: the records of Caffe's tool, and nothing where it fails."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.caffe_pb2 import Datum
from caffe_compat.data.database import records
from caffe_compat.data.features import extract_features
from caffe_compat.errors import CaffeCompatError, ParseError, ShapeError

from .cases import DATA, database, datum, pixels

pytest.importorskip("onnxruntime")

NET = DATA / "features" / "net.prototxt"
WEIGHTS = DATA / "features" / "weights.caffemodel"


@pytest.mark.parametrize("backend", ["lmdb", "leveldb"])
def test_records_are_those_of_caffes_tool(tmp_path, backend):
    outs = [tmp_path / "conv", tmp_path / "ip"]
    done = extract_features(
        WEIGHTS, NET, ["conv", "ip"], outs, 4, backend=backend, device="cpu", root=DATA
    )
    assert done == {"conv": 12, "ip": 12}
    with np.load(DATA / "features" / "out.npz") as recorded:
        for blob, out in zip(("conv", "ip"), outs, strict=True):
            found = [(key, Datum.FromString(bytes(value))) for key, value in records(out)]
            assert [key for key, _ in found] == [b"%010d" % i for i in range(12)]
            values = np.array([datum.float_data for _, datum in found], np.float32)
            np.testing.assert_allclose(values, recorded[blob], rtol=1e-5, atol=1e-6)
            for _, datum in found:
                shape = [datum.channels, datum.height, datum.width]
                assert shape == recorded[f"{blob}:shape"].tolist()
                names = [field.name for field, _ in datum.ListFields()]
                assert names == ["channels", "height", "width", "float_data"]


def test_images_of_other_sizes_reshape_the_net(tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_text(
        'layer { name: "d" type: "ImageData" top: "data" top: "label"'
        ' image_data_param { source: "sources/list.txt" root_folder: "sources/" } }'
        'layer { name: "p" type: "Power" bottom: "data" top: "y" power_param { shift: 1 } }'
    )
    extract_features(WEIGHTS, net, ["y"], [tmp_path / "y"], 3, device="cpu", root=DATA)
    sizes = [
        (d.height, d.width)
        for d in (Datum.FromString(bytes(v)) for _, v in records(tmp_path / "y"))
    ]
    assert sizes == [(15, 12), (14, 18), (13, 13)]


@pytest.mark.parametrize(
    "blobs, count, says",
    [
        (["conv"], 0, "the number of batches must be positive, and is 0"),
        (["conv", "ip"], 1, "2 blobs for 1 databases; one each"),
        (["nothing"], 1, "no blob 'nothing'"),
    ],
)
def test_what_cannot_be_done(tmp_path, blobs, count, says):
    with pytest.raises(ShapeError, match=says):
        extract_features(WEIGHTS, NET, blobs, [tmp_path / "out"], count, device="cpu", root=DATA)
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_cannot_be_read_leaves_no_database(tmp_path):
    values = [datum(image) for image in pixels(6, (3, 8, 10))]
    database(tmp_path / "db", [*values, b"\x08"])
    net = tmp_path / "net.prototxt"
    net.write_text(NET.read_text().replace("sources/raw_lmdb", "db"))
    with pytest.raises(ParseError, match="key '00000006': not a Datum"):
        extract_features(WEIGHTS, net, ["ip"], [tmp_path / "out"], 3, device="cpu")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    with pytest.raises(CaffeCompatError, match="out: exists; a database is never overwritten"):
        extract_features(WEIGHTS, NET, ["ip"], [tmp_path / "out"], 1, device="cpu", root=DATA)
