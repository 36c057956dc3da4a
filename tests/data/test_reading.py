"""The entrance: which layers, from where, at which seeds."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format

from caffe_compat.caffe_pb2 import NetParameter
from caffe_compat.data import batches, shapes
from caffe_compat.errors import CaffeCompatError, ParseError, ShapeError

from .cases import CASES, DATA, data_net, database, datum, open_case, pixels


@pytest.fixture
def net(tmp_path):
    database(tmp_path / "db", [datum(image, i) for i, image in enumerate(pixels(4))])
    return data_net(tmp_path / "net.prototxt", "db")


def test_paths_are_looked_up_here_then_beside_the_net_or_in_root(
    net, tmp_path, monkeypatch, caplog
):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    caplog.set_level("INFO", "caffe_compat")
    with batches(net) as reader:
        assert next(reader)["label"].tolist() == [0, 1]
    assert f"source 'db' is {tmp_path / 'db'}" in caplog.text
    database(here / "db", [datum(pixels(1)[0], 7)])
    with batches(net) as reader:
        assert next(reader)["label"].tolist() == [7, 7]
    with batches(net, root=tmp_path) as reader:
        assert next(reader)["label"].tolist() == [0, 1]
    with pytest.raises(ParseError, match=r"source 'db': no such file or folder \(looked in .*/no"):
        batches(net, root=here / "nowhere")


def test_no_path_is_a_path_of_its_own(tmp_path):
    for source, says in [("", "gives no source"), ("\\000", "a null character in it")]:
        with pytest.raises(ParseError, match=rf"layer 'data' \(Data\): .*{says}"):
            batches(data_net(tmp_path / "net.prototxt", source))


def test_the_phases_layers_are_read(tmp_path):
    for name, label in (("a", 1), ("b", 2)):
        database(tmp_path / name, [datum(pixels(1)[0], label)])
    net = tmp_path / "net.prototxt"
    net.write_text(
        "".join(
            f'layers {{ name: "d" type: DATA top: "x" top: "y" include {{ phase: {phase} }}'
            f' data_param {{ source: "{source}" batch_size: 1 backend: LMDB crop_size: 4 }} }}\n'
            for phase, source in (("TRAIN", "a"), ("TEST", "b"))
        )
    )
    for phase, label in (("TRAIN", 1), ("TEST", 2)):
        with batches(net, phase=phase) as reader:
            batch = next(reader)
        assert (batch["x"].shape, batch["y"].tolist()) == ((1, 3, 4, 4), [label])


def test_a_field_that_is_not_known_counts_in_a_data_layer_alone(net):
    text = net.read_text()
    net.write_text(text + 'layer { name: "z" type: "Foo" bottom: "data" foo_param { a: 1 } }')
    assert shapes(net)["data"] == (2, 3, 6, 7)
    net.write_text(text.replace("batch_size", "shuffled: true batch_size"))
    with pytest.raises(ParseError, match=r"DataParameter has no field 'shuffled'.*ignore_unknown"):
        batches(net)
    assert shapes(net, ignore_unknown=("shuffled",))["label"] == (2,)


def test_a_net_that_is_selected_already(net, monkeypatch):
    monkeypatch.chdir(net.parent)
    message = text_format.Parse(net.read_text(), NetParameter())
    with batches(message) as reader:
        assert next(reader)["data"].shape == (2, 3, 6, 7)


@pytest.mark.parametrize("name", CASES)
def test_shapes_come_from_the_first_record(name):
    prototxt, root, numbers = CASES[name]
    with np.load(numbers) as out:
        phase = str(out["phase"])
    reader, _ = open_case(name)
    with reader:
        assert shapes(prototxt, phase=phase, root=root) == reader.shapes


def test_without_a_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(CaffeCompatError, match=r"an image needs a package.*caffe_compat\[data\]"):
        shapes(DATA / "cases" / "image_one.prototxt", root=DATA)


def test_ranks_count_from_0(net):
    for rank, ranks in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(ShapeError, match=f"rank {rank} of {ranks} ranks; they count from 0"):
            batches(net, rank=rank, ranks=ranks)


def test_another_seed_gives_other_crops(net):
    net.write_text(net.read_text().replace("transform_param { ", "transform_param { crop_size: 2 "))
    found = []
    for seed in (1, 1, 2):
        with batches(net, seed=seed) as reader:
            found.append(np.concatenate([next(reader)["data"] for _ in range(4)]))
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
