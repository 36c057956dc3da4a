"""HDF5Data's files."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from caffe_compat.data import batches
from caffe_compat.errors import ParseError, ShapeError, WeightsError


def net(tmp_path, fields="", more=""):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "h" type: "HDF5Data" top: "data" top: "a/label" '
        f'hdf5_data_param {{ source: "{tmp_path}/list.txt" batch_size: 2 {fields} }} {more} }}'
    )
    return path


def write(tmp_path, *files):
    names = []
    for i, sets in enumerate(files):
        names.append(str(tmp_path / f"{i}.h5"))
        with h5py.File(names[-1], "w") as file:
            for name, values in sets.items():
                file[name] = values
    (tmp_path / "list.txt").write_text("\n".join(names))


def rows(count, start=0.0):
    return np.arange(start, start + count * 3).reshape(count, 3)


def test_rows_of_several_files_and_of_groups(tmp_path):
    write(
        tmp_path,
        {"data": rows(3), "a/label": [1, 2, 3]},
        {"data": rows(1, 50), "a/label": np.array([4], np.int8)},
    )
    with batches(net(tmp_path)) as reader:
        found = [next(reader) for _ in range(3)]
    assert [batch["a/label"].tolist() for batch in found] == [[1, 2], [3, 4], [1, 2]]
    np.testing.assert_array_equal(found[1]["data"], np.float32([[6, 7, 8], [50, 51, 52]]))


@pytest.mark.parametrize(
    "files, error, says",
    [
        ([{"data": rows(2)}], WeightsError, "0.h5: no /a in it|0.h5: /.*a"),
        ([{"data": rows(2), "a/label": [1]}], ShapeError, "/a/label has 1 rows, and /data 2"),
        ([{"data": 1.0, "a/label": [1]}], ShapeError, r"/data has the shape \(\); it has no rows"),
        ([{"data": ["x"], "a/label": [1]}], WeightsError, "neither float nor integer"),
        ([], ParseError, "list.txt: names no HDF5 file"),
    ],
)
def test_files_that_do_not_fit(tmp_path, files, error, says):
    write(tmp_path, *files)
    with pytest.raises(error, match=rf"layer 'h' \(HDF5Data\): .*{says}"):
        batches(net(tmp_path))


def test_files_whose_rows_differ(tmp_path):
    first = {"data": rows(2), "a/label": [1, 2]}
    write(tmp_path, first, {"data": rows(2)[:, :2], "a/label": [1, 2]})
    with (
        batches(net(tmp_path)) as reader,
        pytest.raises(ShapeError, match=r"1.h5: a row of /data is \(2,\), and \(3,\) in the first"),
    ):
        next(reader)


def test_a_missing_file_is_named(tmp_path):
    (tmp_path / "list.txt").write_text(f"{tmp_path}/gone.h5")
    with pytest.raises(ParseError, match=r"HDF5 file '.*gone.h5': no such file"):
        batches(net(tmp_path))


def test_nothing_is_read_from_outside_the_file(tmp_path):
    write(tmp_path, {"data": rows(2), "a/label": [1, 2]}, {})
    with h5py.File(tmp_path / "1.h5", "w") as file:
        file["data"] = h5py.ExternalLink(str(tmp_path / "0.h5"), "/data")
        file["a/label"] = [1, 2]
    (tmp_path / "list.txt").write_text(f"{tmp_path}/1.h5")
    with pytest.raises(WeightsError, match=r"1.h5: /data: a link that leads elsewhere"):
        batches(net(tmp_path))


def test_a_file_that_changes_is_noticed(tmp_path):
    write(tmp_path, {"data": rows(4).astype("f4"), "a/label": np.ones(4, "f4")})
    with batches(net(tmp_path)) as reader:
        write(tmp_path, {"data": rows(400).astype("f4"), "a/label": np.ones(400, "f4")})
        with pytest.raises(WeightsError, match=r"0.h5 was changed since it was opened"):
            next(reader)


def test_data_is_not_transformed(tmp_path):
    write(tmp_path, {"data": rows(2), "a/label": [1, 2]})
    with pytest.raises(ShapeError, match="does not transform data"):
        batches(net(tmp_path, more="transform_param { scale: 2 }"))
