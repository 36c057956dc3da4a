from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from caffe_compat import pipeline, weights
from caffe_compat.errors import CaffeCompatError, WeightsError
from caffe_compat.onnx import writer
from caffe_compat.onnx.lowering import lower
from caffe_compat.runtime.session import Session
from caffe_compat.weights import mapped

from .. import wireformat
from ..cases import assert_close, feed
from ..wireformat import doubles, length, packed, shape

TESTS = Path(__file__).parents[1]
DET2 = TESTS.parent / "examples" / "mtcnn" / "models" / "det2"
HALF = TESTS / "golden" / "models" / "hyperlpr_finemapping"
HDF5 = TESTS / "golden" / "models" / "cifar10_quick"
NORM = """name: "n"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 5 dim: 7 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 30 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "norm" }
"""


@pytest.fixture
def folder(tmp_path):
    """A folder of its own with det2's net and weights."""
    shutil.copy(DET2 / "net.prototxt", tmp_path)
    shutil.copy(DET2 / "weights.caffemodel", tmp_path)
    return tmp_path


def load(folder, **options):
    return pipeline.load(folder / "net.prototxt", folder / "weights.caffemodel", **options)


def check_runs(path, net):
    """onnxruntime computes from the file what numpy computes from the net."""
    feeds = feed(net)
    wanted = net.forward(feeds)
    for name, array in Session(path, "cpu").run(feeds).items():
        assert_close(array, wanted[name], 1e-5, name)


def external(path):
    """For each tensor that the file holds elsewhere: where, from which byte on, how many."""
    model = onnx.load(path, load_external_data=False)
    found = {}
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            entry = {e.key: e.value for e in tensor.external_data}
            found[tensor.name] = entry["location"], int(entry["offset"]), int(entry["length"])
    return found


def held(path):
    """Every initializer's array, as onnx itself reads them."""
    model = onnx.load(path)
    return {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}


@pytest.mark.parametrize("weights_as", [None, "inline", "external", "in-place"])
def test_every_form_holds_the_weights_and_runs(folder, weights_as):
    net, path = load(folder), folder / "out.onnx"
    saved = pipeline.to_onnx(net, path, weights_as=weights_as)
    onnx.checker.check_model(path, full_check=True)
    assert saved.weights_as == (weights_as or "inline")
    assert saved.stored == ()
    arrays, lowered = held(path), lower(net)
    assert arrays.keys() == lowered.arrays.keys()
    for name, array in lowered.arrays.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)
    check_runs(path, net)


def test_inline_is_one_file(folder):
    saved = pipeline.to_onnx(load(folder), folder / "out.onnx", weights_as="inline")
    assert saved.files == (folder / "out.onnx",)
    assert external(folder / "out.onnx") == {}
    assert {p.name for p in folder.iterdir()} == {"net.prototxt", "weights.caffemodel", "out.onnx"}


def test_external_is_a_file_beside_with_every_tensor_on_a_page(folder):
    path = folder / "out.onnx"
    saved = pipeline.to_onnx(load(folder), path, weights_as="external")
    assert saved.files == (path, folder / "out.onnx.data")
    entries = external(path)
    assert {where for where, _, _ in entries.values()} == {"out.onnx.data"}
    assert all(offset % 4096 == 0 and size >= 4096 for _, offset, size in entries.values())
    assert path.stat().st_size < 20_000 < saved.files[1].stat().st_size
    moved = folder / "moved"
    moved.mkdir()
    (folder / "weights.caffemodel").unlink()
    for file in saved.files:
        file.rename(moved / file.name)
    Session(moved / "out.onnx", "cpu")


def test_in_place_names_the_caffemodels_own_bytes(folder):
    net, path = load(folder), folder / "out.onnx"
    before = (folder / "weights.caffemodel").read_bytes()
    saved = pipeline.to_onnx(net, path, weights_as="in-place")
    assert saved.files == (path,)
    entries = external(path)
    lowered = lower(net)
    assert entries.keys() == set(lowered.params)
    for name, (where, offset, size) in entries.items():
        assert where == "weights.caffemodel"
        assert before[offset : offset + size] == lowered.arrays[name].tobytes()
    assert any(offset % 4 for _, offset, _ in entries.values())  # unaligned ones are read too
    assert path.stat().st_size < 10_000
    assert (folder / "weights.caffemodel").read_bytes() == before


def test_two_files_share_one_caffemodel_below_them(folder):
    (folder / "weights").mkdir()
    shared = folder / "weights" / "w.caffemodel"
    (folder / "weights.caffemodel").rename(shared)
    nets = {
        "one.onnx": pipeline.load(folder / "net.prototxt", shared),
        "many.onnx": pipeline.load(folder / "net.prototxt", shared, batch="dynamic"),
    }
    for name, net in nets.items():
        pipeline.to_onnx(net, folder / name, weights_as="in-place")
    entries = [external(folder / name) for name in nets]
    assert entries[0] == entries[1]
    assert {where for where, _, _ in entries[0].values()} == {"weights/w.caffemodel"}
    for name, net in nets.items():
        check_runs(folder / name, net)


def test_hdf5_weights_are_named_in_place_too(tmp_path):
    shutil.copytree(HDF5, tmp_path, dirs_exist_ok=True)
    net = pipeline.load(tmp_path / "net.prototxt", tmp_path / "weights.caffemodel.h5")
    pipeline.to_onnx(net, tmp_path / "out.onnx", weights_as="in-place")
    assert {e[0] for e in external(tmp_path / "out.onnx").values()} == {"weights.caffemodel.h5"}
    check_runs(tmp_path / "out.onnx", net)


def test_what_must_change_is_stored_and_reported(tmp_path):
    (tmp_path / "net.prototxt").write_text(NORM)
    net = pipeline.load(tmp_path / "net.prototxt")
    params = [[array.copy() for array in blobs] for blobs in net.arrays]
    params[2][1][:], params[2][2][:] = 3, 2
    weights.write_caffemodel(tmp_path / "weights.caffemodel", net.graph.net, params)
    net = load(tmp_path)
    saved = pipeline.to_onnx(net, tmp_path / "out.onnx", weights_as="in-place")
    assert saved.stored == ("norm/mean", "norm/variance")
    assert external(tmp_path / "out.onnx").keys() == {"conv/weight", "conv/bias"}
    check_runs(tmp_path / "out.onnx", net)


DENSE = """name: "n"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 } } }
layer { name: "conv1" type: "InnerProduct" bottom: "data" top: "y"
  inner_product_param { num_output: 2 } }
"""


def test_what_the_file_holds_as_doubles_is_stored_and_reported(tmp_path):
    (tmp_path / "net.prototxt").write_text(DENSE)
    weight = doubles(8, 1, 2, 3, 4, 5, 6) + shape(2, 3)
    bias = packed(5, 7, 8) + shape(2)
    (tmp_path / "weights.caffemodel").write_bytes(wireformat.net(weight, bias))
    loaded = load(tmp_path)
    saved = pipeline.to_onnx(loaded, tmp_path / "out.onnx", weights_as="in-place")
    assert saved.stored == ("conv1/weight",)
    assert external(tmp_path / "out.onnx").keys() == {"conv1/bias"}
    check_runs(tmp_path / "out.onnx", loaded)


def test_layers_that_the_file_lacks_are_stored_and_reported(folder):
    text = (folder / "net.prototxt").read_text().replace('"conv1"', '"first"')
    (folder / "net.prototxt").write_text(text)
    net = load(folder)
    saved = pipeline.to_onnx(net, folder / "out.onnx", weights_as="in-place")
    assert saved.stored == ("first/weight", "first/bias")
    check_runs(folder / "out.onnx", net)


def test_in_place_needs_weights_to_point_at(tmp_path):
    (tmp_path / "net.prototxt").write_text(DENSE)
    filled = pipeline.load(tmp_path / "net.prototxt")
    with pytest.raises(WeightsError, match="in-place needs a weights file"):
        pipeline.to_onnx(filled, tmp_path / "out.onnx", weights_as="in-place")
    shutil.copytree(HALF, tmp_path / "half")
    half = load(tmp_path / "half")
    with pytest.raises(WeightsError, match="in-place needs a weights file"):
        pipeline.to_onnx(half, tmp_path / "half" / "out.onnx", weights_as="in-place")
    assert not list(tmp_path.rglob("*.onnx"))


def test_a_net_without_parameters_has_nothing_to_point_at(tmp_path):
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }'
        'layer { name: "y" type: "ReLU" bottom: "x" top: "y" }'
    )
    relu = pipeline.load(tmp_path / "net.prototxt")
    for weights_as in ("inline", "external", "in-place"):
        pipeline.to_onnx(relu, tmp_path / "out.onnx", weights_as=weights_as)
        check_runs(tmp_path / "out.onnx", relu)


@pytest.mark.parametrize("where", ["..", "other"])
def test_in_place_reaches_the_models_own_folder_only(folder, where):
    (folder / "here").mkdir()
    (folder / "other").mkdir()
    source = folder / where if where == "other" else folder
    if where == "other":
        (folder / "weights.caffemodel").rename(source / "weights.caffemodel")
    net = pipeline.load(folder / "net.prototxt", source / "weights.caffemodel")
    path = folder / "here" / "out.onnx"
    path.write_bytes(b"old")
    with pytest.raises(WeightsError, match="own folder or below"):
        pipeline.to_onnx(net, path, weights_as="in-place")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_link_counts_as_the_file_that_it_leads_to(folder):
    (folder / "here").mkdir()
    link = folder / "here" / "weights.caffemodel"
    link.symlink_to(folder / "weights.caffemodel")
    net = pipeline.load(folder / "net.prototxt", link)
    with pytest.raises(WeightsError, match="own folder or below"):
        pipeline.to_onnx(net, folder / "here" / "out.onnx", weights_as="in-place")
    pipeline.to_onnx(net, folder / "out.onnx", weights_as="in-place")
    assert {where for where, _, _ in external(folder / "out.onnx").values()} == {
        "weights.caffemodel"
    }
    (folder / "link").symlink_to(folder / "here")  # the ONNX file's folder, by another name
    shutil.copy(folder / "weights.caffemodel", folder / "here" / "w.caffemodel")
    net = pipeline.load(folder / "net.prototxt", folder / "here" / "w.caffemodel")
    pipeline.to_onnx(net, folder / "link" / "out.onnx", weights_as="in-place")
    check_runs(folder / "here" / "out.onnx", net)


def test_a_name_that_no_onnx_file_can_hold(folder):
    odd = folder / os.fsdecode(b"w\xff.caffemodel")
    (folder / "weights.caffemodel").rename(odd)
    net = pipeline.load(folder / "net.prototxt", odd)
    with pytest.raises(WeightsError, match="cannot name"):
        pipeline.to_onnx(net, folder / "out.onnx", weights_as="in-place")
    pipeline.to_onnx(net, folder / "out.onnx", weights_as="external")


@pytest.mark.parametrize("where", ["../secret", "/etc/hostname", "below/../../secret"])
def test_a_session_reads_nothing_outside_the_models_folder(folder, where):
    (folder / "here" / "below").mkdir(parents=True)
    shutil.copy(folder / "weights.caffemodel", folder / "here")
    shutil.copy(folder / "weights.caffemodel", folder / "secret")
    net = pipeline.load(folder / "net.prototxt", folder / "here" / "weights.caffemodel")
    path = folder / "here" / "out.onnx"
    pipeline.to_onnx(net, path, weights_as="in-place")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = where if entry.key == "location" else entry.value
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CaffeCompatError):
        Session(path, "cpu")


@pytest.mark.parametrize("weights_as", ["inline", "external", "in-place"])
def test_the_weights_themselves_are_never_overwritten(folder, weights_as):
    source = folder / "weights.caffemodel"
    before = source.read_bytes()
    net = load(folder)
    (folder / "link.onnx").symlink_to(source)
    for path in (source, folder / "link.onnx"):
        with pytest.raises(WeightsError, match="is the weights file itself"):
            pipeline.to_onnx(net, path, weights_as=weights_as)
    source.rename(folder / "w.onnx.data")
    net = pipeline.load(folder / "net.prototxt", folder / "w.onnx.data")
    if weights_as == "external":
        with pytest.raises(WeightsError, match="is the weights file itself"):
            pipeline.to_onnx(net, folder / "w.onnx", weights_as=weights_as)
    assert (folder / "w.onnx.data").read_bytes() == before


@pytest.mark.parametrize("weights_as", ["inline", "external", "in-place"])
def test_weights_that_were_cut_end_in_an_error(folder, weights_as):
    net, path = load(folder), folder / "out.onnx"
    lowered = lower(net)
    os.truncate(folder / "weights.caffemodel", 5000)
    path.write_bytes(b"old")
    for attempt in (
        lambda: writer.save(lowered, path, weights_as),
        lambda: pipeline.to_onnx(net, path, weights_as=weights_as),
        lambda: net.run({}),
        lambda: Session(lowered, "cpu"),
        lambda: pipeline.save(net, folder / "w.caffemodel"),
    ):
        with pytest.raises(WeightsError, match="was changed since it was opened"):
            attempt()
    assert path.read_bytes() == b"old"
    assert {p.name for p in folder.iterdir()} == {"net.prototxt", "weights.caffemodel", "out.onnx"}


def test_weights_that_were_replaced_can_still_be_copied_and_not_be_named(folder):
    net, source = load(folder), folder / "weights.caffemodel"
    (folder / "new").write_bytes(b"another")
    (folder / "new").replace(source)
    with pytest.raises(WeightsError, match="was replaced or removed"):
        pipeline.to_onnx(net, folder / "out.onnx", weights_as="in-place")
    for weights_as in ("inline", "external"):
        pipeline.to_onnx(net, folder / "out.onnx", weights_as=weights_as)
        check_runs(folder / "out.onnx", net)


def test_a_system_without_preadv_copies_through_the_map(folder, monkeypatch):
    net = load(folder)
    pipeline.to_onnx(net, folder / "a.onnx", weights_as="inline")
    monkeypatch.delattr(os, "preadv")
    pipeline.to_onnx(net, folder / "b.onnx", weights_as="inline")
    assert (folder / "b.onnx").read_bytes() == (folder / "a.onnx").read_bytes()


def test_weights_of_many_pieces_are_copied_whole(folder, monkeypatch):
    net = load(folder)
    pipeline.to_onnx(net, folder / "a.onnx", weights_as="external")
    monkeypatch.setattr(mapped, "_CHUNK", 100)
    pipeline.to_onnx(net, folder / "b.onnx", weights_as="external")
    assert (folder / "b.onnx.data").read_bytes() == (folder / "a.onnx.data").read_bytes()


def test_weights_that_are_cut_while_they_are_copied(folder, monkeypatch):
    net, path = load(folder), folder / "out.onnx"
    real = os.preadv

    def cut(*args):
        os.truncate(folder / "weights.caffemodel", 3000)
        return real(*args)

    monkeypatch.setattr(os, "preadv", cut)
    with pytest.raises(WeightsError, match="was changed since it was opened"):
        pipeline.to_onnx(net, path, weights_as="inline")
    assert not path.exists()


def test_arrays_of_any_kind_are_written_row_by_row(folder):
    array = next(array for held in load(folder).arrays for array in held if array.ndim == 2)
    assert mapped.location(array)
    for given in (
        array,
        array.T,
        array[:, ::-1],
        array.astype(">f4"),
        np.arange(3),
        array[:0],
        np.float32(3).reshape(()),
        np.array([True, False]),
    ):
        out = io.BytesIO()
        mapped.write(out, given)
        assert out.getvalue() == given.astype(given.dtype.newbyteorder("<")).tobytes()


@pytest.mark.parametrize("weights_as", ["inline", "in-place"])
def test_two_gib_are_refused_before_anything_is_written(folder, monkeypatch, weights_as):
    monkeypatch.setattr(writer, "_PROTOBUF_LIMIT", 2000)
    net = load(folder)
    with pytest.raises(CaffeCompatError, match="2 GiB; store them with weights_as"):
        pipeline.to_onnx(net, folder / "out.onnx", weights_as=weights_as)
    assert not (folder / "out.onnx").exists()


def test_above_the_limit_weights_go_to_a_file_beside_by_default(folder, monkeypatch):
    monkeypatch.setattr(writer, "INLINE_LIMIT", 100_000)
    assert pipeline.to_onnx(load(folder), folder / "out.onnx").weights_as == "external"


@pytest.mark.parametrize("weights_as", ["inline", "external"])
def test_a_full_disk_leaves_what_was_there(folder, monkeypatch, weights_as):
    net, path = load(folder), folder / "out.onnx"
    path.write_bytes(b"old")
    beside = folder / "out.onnx.data"
    beside.write_bytes(b"older")

    def fail(out, array):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mapped, "write", fail)
    with pytest.raises(
        CaffeCompatError, match=r"out\.onnx(\.data)?: cannot be written: No space left"
    ):
        pipeline.to_onnx(net, path, weights_as=weights_as)
    assert (path.read_bytes(), beside.read_bytes()) == (b"old", b"older")
    assert len(list(folder.iterdir())) == 4


def test_layers_that_share_their_weights_name_the_same_bytes(tmp_path):
    text = DENSE.replace("bottom", 'param { name: "w" } param { name: "b" } bottom')
    second = text[text.index('layer { name: "conv1"') :].replace('"y"', '"z"')
    second = second.replace("conv1", "two")
    (tmp_path / "net.prototxt").write_text(text + second)
    stored = length(1, "two") + length(7, packed(5, *range(6)) + shape(2, 3))
    stored += length(7, packed(5, 1, 2) + shape(2))
    (tmp_path / "weights.caffemodel").write_bytes(length(100, stored))
    loaded = load(tmp_path)
    pipeline.to_onnx(loaded, tmp_path / "out.onnx", weights_as="in-place")
    assert external(tmp_path / "out.onnx").keys() == {"conv1/weight", "conv1/bias"}
    check_runs(tmp_path / "out.onnx", loaded)


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["show", "weights.caffemodel"], {"h5py", "onnx", "onnxruntime", "rich"}),
        (
            ["convert", "net.prototxt", "weights.caffemodel", "-o", "out.onnx"],
            {"h5py", "onnxruntime", "rich", "PIL"},
        ),
    ],
)
def test_the_command_starts_without_what_it_does_not_need(folder, arguments, forbidden):
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: sys.stderr.write('|'.join(['', *sys.modules])))\n"
        "from caffe_compat.converters.cli import main\n"
        "main()"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split("|")[1:])
    assert "numpy" in loaded
    assert not forbidden & loaded


@pytest.mark.skipif(os.name == "nt", reason="Windows has no /dev/null")
def test_nothing_is_written_beside_a_device(folder):
    with pytest.raises(CaffeCompatError, match="/dev/null: is no ordinary file"):
        writer.save(lower(load(folder)), os.devnull, "external")
    assert not Path("/dev/null.data").exists()


@pytest.mark.parametrize("path", ["", "."])
def test_a_directory_is_no_file(folder, path):
    with pytest.raises(CaffeCompatError, match="is a directory; name a file in it"):
        writer.save(lower(load(folder)), path)
