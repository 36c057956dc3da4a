"""Records as a Ray dataset: block by block the rows that one reader gives.

The tests that start a cluster need the extra `ray`, and are slow.
"""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest

from caffe_compat.data import batches, ray
from caffe_compat.errors import CaffeCompatError, ParseError, UnsupportedError

from .cases import CASES, data_net, database, datum, open_case, pixels

READ = ["data_mixed_train", "data_jpeg", "image_list_train", "data_float", "annotated_test_png"]


class Rows:
    """Stands for Ray: what is mapped over the blocks' rows, pickled as on its way to a worker."""

    def __init__(self, items):
        self.items = items

    def map_batches(self, function, batch_size):
        assert batch_size == 1
        travelled = pickle.loads(pickle.dumps(function))
        return [travelled({name: [value] for name, value in item.items()}) for item in self.items]


@pytest.fixture
def blocks(monkeypatch):
    """Run `read_dataset` without a cluster."""
    module = type(sys)("ray")
    module.data = type(sys)("ray.data")
    module.data.from_items = lambda items, override_num_blocks: Rows(items)
    monkeypatch.setitem(sys.modules, "ray", module)
    monkeypatch.setitem(sys.modules, "ray.data", module.data)


def recorded(name):
    prototxt, root, numbers = CASES[name]
    with np.load(numbers) as out:
        return prototxt, {"root": root, "seed": int(out["seed"]), "phase": str(out["phase"])}


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("name", READ)
def test_a_round_of_blocks_is_a_round_of_batches(blocks, name, size):
    prototxt, keywords = recorded(name)
    found = ray.read_dataset(prototxt, block=size, **keywords)
    rows = np.concatenate([block["data"] for block in found])
    reader, _ = open_case(name)
    with reader:
        expected = next(reader)["data"]
        while len(expected) < len(rows):
            expected = np.concatenate([expected, next(reader)["data"]])
    np.testing.assert_array_equal(rows, expected[: len(rows)])
    sources = {"data_mixed_train": 5, "data_jpeg": 4, "image_list_train": 8}
    assert len(rows) == sources.get(name, 4)


def test_bad_records_are_left_out(blocks, tmp_path):
    values = [datum(image, i) for i, image in enumerate(pixels(5))]
    values[1] = b"\x08"
    net = data_net(tmp_path / "net", database(tmp_path / "db", values))
    with pytest.raises(ParseError, match=r"layer 'data' \(Data\): .*key '00000001': not a Datum"):
        ray.read_dataset(net, block=2)
    found = ray.read_dataset(net, block=2, skip_bad=True)
    assert [block["label"].tolist() for block in found] == [[0], [2, 3], [4]]


@pytest.mark.parametrize("name", ["hdf5_plain", "window_context", "memory"])
def test_other_layers_are_refused(blocks, name):
    prototxt, keywords = recorded(name)
    with pytest.raises(UnsupportedError, match="has no records in an order of their own"):
        ray.read_dataset(prototxt, **keywords)


def test_numbers_that_depend_on_the_records_are_refused(blocks):
    prototxt, keywords = recorded("annotated_train_all")
    with pytest.raises(UnsupportedError, match="its random numbers depend on the records before"):
        ray.read_dataset(prototxt, block=1, **keywords)


def test_one_layer_of_several_is_named(blocks):
    prototxt, keywords = recorded("data_after_filler")
    with pytest.raises(CaffeCompatError, match="several data layers; name one: data, again"):
        ray.read_dataset(prototxt, **keywords)
    with pytest.raises(CaffeCompatError, match="no data layer 'x'; it has: data, again"):
        ray.read_dataset(prototxt, "x", **keywords)
    (block,) = ray.read_dataset(prototxt, "again", **keywords)
    with batches(prototxt, **keywords) as reader:
        np.testing.assert_array_equal(block["second"][:2], next(reader)["second"])


def test_without_ray(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CaffeCompatError, match=r"pip install 'caffe_compat\[ray\]'"):
        ray.read_dataset(tmp_path / "net")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_cluster_gives_the_same_rows():
    library = pytest.importorskip("ray")
    library.init(num_cpus=2, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    try:
        context = library.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        prototxt, keywords = recorded("data_mixed_train")
        rows = ray.read_dataset(prototxt, block=2, **keywords).take_all()
    finally:
        library.shutdown()
    reader, _ = open_case("data_mixed_train")
    with reader:
        batch, more = next(reader), next(reader)
    expected = np.concatenate([batch["data"], more["data"]])[:5]
    np.testing.assert_array_equal([row["data"] for row in rows], expected)
    labels = np.concatenate([batch["label"], more["label"]])[:5]
    assert [row["label"] for row in rows] == labels.tolist()
