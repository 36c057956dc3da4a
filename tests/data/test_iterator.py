"""Batches of whole nets: real Caffe's, the same for all workers, and from any place on."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from PIL import Image

from caffe_compat.data import batches
from caffe_compat.data.source import RecordSource
from caffe_compat.data.sources.database import DatabaseSource
from caffe_compat.errors import CaffeCompatError, ParseError, ShapeError, UnsupportedError

from .cases import CASES, batch_of, data_net, database, datum, open_case, pixels


def same(batch, expected):
    """Compare values; Caffe gives a MemoryData's labels three more axes while it runs."""
    assert batch.keys() == expected.keys()
    for top, array in expected.items():
        assert batch[top].dtype == np.float32
        if array.shape[1:] == (1, 1, 1) and batch[top].ndim == 1:
            array = array.reshape(-1)
        np.testing.assert_array_equal(batch[top], array, strict=True)


@pytest.mark.parametrize("name", CASES)
def test_batches_are_real_caffes(name):
    reader, out = open_case(name)
    with reader:
        first = next(reader)
        assert {top: array.shape for top, array in first.items()} == reader.shapes | {
            top: first[top].shape for top in first if first[top].shape[-1:] == (8,)
        }
        same(first, batch_of(out, 0))
        number = 1
        while expected := batch_of(out, number):
            same(next(reader), expected)
            number += 1
    assert number >= 4


@pytest.mark.parametrize("name", CASES)
def test_a_reader_goes_on_from_any_place(name):
    reader, out = open_case(name, workers=3)
    with reader:
        next(reader)
        next(reader)
        state = reader.state()
        next(reader)
    other, _ = open_case(name, seed=1)
    with other:
        next(other)
        other.restore(state)
        assert other.state() == state
        for number in (2, 3):
            same(next(other), batch_of(out, number))
        other.restore(state)
        same(next(other), batch_of(out, 2))


@pytest.mark.parametrize("name", ["data_mixed_train", "annotated_train_all", "window_context"])
@pytest.mark.parametrize("workers", [1, 2, 7])
def test_any_number_of_workers_gives_the_same(name, workers):
    reader, out = open_case(name, workers=workers)
    with reader:
        for number in range(4):
            same(next(reader), batch_of(out, number))


def net_of(tmp_path, count=12, batch=2, **fields):
    images = pixels(count)
    source = database(tmp_path / "db", [datum(image, i) for i, image in enumerate(images)])
    return data_net(tmp_path / "net.prototxt", source, batch, **fields)


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_ranks_part_the_records_between_them(tmp_path, ranks):
    net = net_of(tmp_path)  # 12 records: over the end with 5 ranks
    with batches(net) as whole:
        labels = np.concatenate([next(whole)["label"] for _ in range(3 * ranks)])
    for rank in range(ranks):
        with batches(net, rank=rank, ranks=ranks) as part:
            own = np.concatenate([next(part)["label"] for _ in range(3)])
        np.testing.assert_array_equal(own, labels[rank::ranks])


@pytest.mark.parametrize("backend", ["lmdb", "leveldb"])
def test_the_records_of_other_ranks_are_not_decoded(tmp_path, backend):
    if backend == "leveldb":
        pytest.importorskip("plyvel")
    # The first record gives the shape; of the others, those of rank 0 cannot be read.
    images = [b"damaged" if i % 2 == 0 and i else datum(x, i) for i, x in enumerate(pixels(8))]
    source = database(tmp_path / "db", images, backend)
    net = data_net(tmp_path / "net.prototxt", source, backend=backend.upper())
    with batches(net, rank=1, ranks=2) as part:
        assert [next(part)["label"].tolist() for _ in range(3)] == [[1, 3], [5, 7], [1, 3]]
    with batches(net, rank=0, ranks=2) as part, pytest.raises(ParseError, match="00000002"):
        next(part)


def test_the_images_of_other_ranks_are_not_opened(tmp_path):
    (tmp_path / "list.txt").write_text(
        "".join(f"{'img0.png' if i % 2 or not i else 'none.png'} {i}\n" for i in range(6))
    )
    Image.fromarray(pixels(1)[0].transpose(1, 2, 0)).save(tmp_path / "img0.png")
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "data" type: "ImageData" top: "data" top: "label"\n'
        f'  image_data_param {{ source: "list.txt" batch_size: 3 root_folder: "{tmp_path}/" }} }}\n'
    )
    with batches(tmp_path / "net.prototxt", rank=1, ranks=2) as part:
        assert next(part)["label"].tolist() == [1, 3, 5]


def test_a_test_net_is_read_whole_by_every_rank(tmp_path):
    net = net_of(tmp_path)
    with batches(net, phase="TEST", rank=1, ranks=2) as part:
        assert next(part)["label"].tolist() == [0, 1]


@pytest.mark.parametrize("name", ["image_list_train", "hdf5_shuffle_train", "window_context"])
def test_ranks_of_other_layers_part_one_common_order(name):
    whole, _ = open_case(name)
    with whole:
        labels = np.concatenate([next(whole)["label"] for _ in range(4)])
    size = len(labels) // 4
    parts = []
    for rank in (0, 1):
        reader, _ = open_case(name, rank=rank, ranks=2)
        with reader:
            parts.append(np.concatenate([next(reader)["label"] for _ in range(2)]))
    if name != "window_context":
        np.testing.assert_array_equal(np.stack(parts, 1).ravel(), labels)
    else:  # each slot's windows are drawn for all ranks, the slots' kinds are the same
        kinds = labels.reshape(4, size) > 0
        for part in parts:
            np.testing.assert_array_equal(part.reshape(2, size) > 0, kinds[:2])
        assert not np.array_equal(*parts)


def test_ranks_draw_at_their_own_seed(tmp_path):
    net = net_of(tmp_path, transform="mirror: true crop_size: 3")
    with batches(net, seed=5, rank=1, ranks=2) as part, batches(net, seed=6) as alone:
        ours = [next(part)["data"] for _ in range(3)]
        labels = [next(alone) for _ in range(6)]
    # Record 1 is the rank's first image: it takes the first draw of the stream at seed 6.
    images = pixels(12).astype(np.float32)
    first = np.array([labels[0]["data"][0]])
    top, left, turned = place_of(images[0], first[0])
    cut = images[1][:, top : top + 3, left : left + 3]
    np.testing.assert_array_equal(ours[0][0], cut[:, :, ::-1] if turned else cut)


def place_of(image, cut):
    """Find where a 3x3 crop comes from."""
    for top in range(image.shape[1] - 2):
        for left in range(image.shape[2] - 2):
            part = image[:, top : top + 3, left : left + 3]
            for turned in (False, True):
                if np.array_equal(part[:, :, ::-1] if turned else part, cut):
                    return top, left, turned
    raise AssertionError("not from this image")


def test_a_bad_record_ends_in_an_error_that_names_it(tmp_path):
    values = [datum(image, i) for i, image in enumerate(pixels(6))]
    values[3] = datum(pixels(1)[0], data=b"short")
    net = data_net(tmp_path / "net.prototxt", database(tmp_path / "db", values))
    with batches(net) as reader:
        assert next(reader)["label"].tolist() == [0, 1]
        for _ in range(2):
            with pytest.raises(
                ParseError,
                match=r"^layer 'data' \(Data\): .*db: key '00000003': declares 3x6x7 = 126 values",
            ):
                next(reader)


def test_skip_bad_goes_on_as_if_bad_records_were_not_there(tmp_path, caplog):
    images = pixels(8)
    values = [datum(image, i) for i, image in enumerate(images)]
    good = [value for i, value in enumerate(values) if i not in (0, 3, 4, 7)]
    for i in (0, 3, 4, 7):
        values[i] = datum(images[0], data=b"short")
    values[4] = b"\x08"
    transform = "mirror: true crop_size: 4"
    bad = data_net(tmp_path / "bad", database(tmp_path / "a", values), 3, transform)
    only = data_net(tmp_path / "good", database(tmp_path / "b", good), 3, transform)
    with batches(bad, skip_bad=True) as reader, batches(only) as expected:
        for _ in range(7):
            same(next(reader), next(expected))
        keys = sorted(name.partition("key ")[2] for name in reader.skipped)
    assert keys == ["'00000000'", "'00000003'", "'00000004'", "'00000007'"]
    assert sum("skipped: " in line for line in caplog.messages) == 4


def test_nothing_but_bad_records_is_an_error_all_the_same(tmp_path):
    source = database(tmp_path / "db", [b"\x08"] * 3)
    net = data_net(tmp_path / "net.prototxt", source)
    with pytest.raises(ParseError, match="none of the first 100 records can be read"):
        batches(net, skip_bad=True)


def test_images_of_one_batch_are_of_one_size(tmp_path):
    values = [datum(pixels(1, (3, 6, 7))[0]), datum(pixels(1, (3, 6, 8))[0])]
    net = data_net(tmp_path / "net.prototxt", database(tmp_path / "db", values))
    with (
        batches(net) as reader,
        pytest.raises(ShapeError, match="key '00000001': is 3x6x8 in a batch of 3x6x7"),
    ):
        next(reader)


def test_a_batch_that_is_kept_is_not_written_over(tmp_path):
    net = net_of(tmp_path)
    with batches(net) as reader:
        kept = [next(reader)["data"] for _ in range(9)]
        part = next(reader)["data"][1][:, 2]
        for _ in range(30):
            next(reader)
    images = pixels(12).astype(np.float32)
    for number, array in enumerate(kept):
        np.testing.assert_array_equal(array, images[[2 * number % 12, (2 * number + 1) % 12]])
    np.testing.assert_array_equal(part, images[19 % 12][:, 2])


def test_memory_is_used_again(tmp_path):
    with batches(net_of(tmp_path)) as reader:
        places = {next(reader)["data"].__array_interface__["data"][0] for _ in range(60)}
    assert len(places) <= 8  # four batches in the queue, one handed out, and what came between


def test_no_more_is_read_ahead_than_prefetch_says(tmp_path, monkeypatch):
    taken = []
    take = RecordSource.take
    monkeypatch.setattr(
        RecordSource, "take", lambda self, run: taken.append(self.offset) or take(self, run)
    )
    with batches(net_of(tmp_path, more="prefetch: 3")) as reader:
        for number in range(1, 6):
            next(reader)
            for _ in range(100):
                if len(taken) == number + 3:
                    break
                threading.Event().wait(0.01)
            threading.Event().wait(0.02)
            assert len(taken) == number + 3


def threads():
    return [thread for thread in threading.enumerate() if "caffe_compat-data" in thread.name]


def test_closing_ends_the_threads(tmp_path):
    reader = batches(net_of(tmp_path))
    next(reader)
    assert threads()
    reader.close()
    reader.close()
    assert not threads()
    with pytest.raises(CaffeCompatError, match="the reader is closed"):
        next(reader)


def test_a_reader_that_nobody_has_any_more_ends_its_threads(tmp_path):
    reader = batches(net_of(tmp_path))
    next(reader)
    gone = weakref.ref(reader)
    del reader
    gc.collect()
    assert gone() is None
    assert_threads_end()


def test_a_reader_is_collected_by_its_own_worker(tmp_path, monkeypatch):
    dropped, loads, load = threading.Event(), [], DatabaseSource.load

    def load_and_collect(self, record):
        loads.append(record)
        if len(loads) > 2 * self.batch_size:
            dropped.wait(10)
            gc.collect()
        return load(self, record)

    monkeypatch.setattr(DatabaseSource, "load", load_and_collect)
    gc.disable()
    try:
        reader = batches(net_of(tmp_path, more="prefetch: 1"), workers=1)
        circle = [reader]
        circle.append(circle)
        next(reader)
        next(reader)
        del reader, circle
        dropped.set()
        assert_threads_end()
    finally:
        gc.enable()


def assert_threads_end():
    for _ in range(1000):
        if not threads():
            return
        threading.Event().wait(0.01)
    raise AssertionError(threads())


def test_a_reader_that_cannot_be_opened_leaves_no_threads(tmp_path):
    net = net_of(tmp_path)
    net.write_text(net.read_text() + 'layer { name: "b" type: "Data" top: "x" }')
    with pytest.raises(ShapeError, match=r"layer 'b' \(Data\): batch_size must be positive"):
        batches(net)
    assert not threads()


def test_the_place_of_another_net_is_refused(tmp_path):
    net = net_of(tmp_path)
    memory, _ = open_case("hdf5_plain")
    with batches(net) as reader, memory:
        with pytest.raises(ParseError, match="not the place of a reader"):
            reader.restore(b"what")
        with pytest.raises(ParseError, match="not the place of a reader of this net: 'key'"):
            reader.restore(memory.state())
        state = reader.state()
    source = database(tmp_path / "other", [datum(image) for image in pixels(1)])
    with batches(data_net(tmp_path / "b", source)) as other:
        other.restore(state)  # both begin at the same key
    renamed = tmp_path / "c"
    renamed.write_text(net.read_text().replace('name: "data"', 'name: "else"'))
    with batches(renamed) as other, pytest.raises(ParseError, match=r"of another net.*'data'"):
        other.restore(state)


MEMORY = """layer { name: "m" type: "MemoryData" top: "a" top: "b"
memory_data_param { batch_size: 2 channels: 1 height: 2 width: 3 } }"""


def test_arrays_of_a_memory_data_layer(tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_text(MEMORY)
    data = np.arange(24).reshape(4, 1, 2, 3)
    with batches(net, arrays={"m": (data, np.arange(4))}) as reader:
        assert reader.shapes == {"a": (2, 1, 2, 3), "b": (2,)}
        assert [next(reader)["b"].tolist() for _ in range(3)] == [[0, 1], [2, 3], [0, 1]]
        reader.set_arrays("m", data[::-1], np.arange(9, 13).reshape(4, 1, 1, 1))
        batch = next(reader)
        np.testing.assert_array_equal(batch["a"], data[::-1][:2])
        assert batch["b"].tolist() == [9, 10]
        with pytest.raises(
            ShapeError, match=r"the data is \(3, 1, 2, 3\); it must be \(n, 1, 2, 3"
        ):
            reader.set_arrays("m", data[:3], np.arange(3))
        with pytest.raises(ShapeError, match="3 labels for 4 images"):
            reader.set_arrays("m", data, np.arange(3))
    with batches(net) as reader, pytest.raises(ShapeError, match=r"needs arrays.*arrays={'m': "):
        next(reader)
    with pytest.raises(ShapeError, match="no MemoryData layer 'x'; there are: m"):
        batches(net, arrays={"x": (data, data)})


@pytest.mark.parametrize(
    "text, error, says",
    [
        ('layer { name: "v" type: "VideoData" top: "a" }', UnsupportedError, "a video or a camera"),
        ('layer { name: "i" type: "Input" top: "a" }', CaffeCompatError, "no data layer in this"),
        (MEMORY + MEMORY, ShapeError, "two data layers have the name 'm'"),
        (
            MEMORY[:-1] + " data_param { prefetch: 0 } }",
            ShapeError,
            r"layer 'm' \(MemoryData\): prefetch must be positive",
        ),
    ],
)
def test_nets_that_are_not_read(tmp_path, text, error, says):
    net = tmp_path / "net.prototxt"
    net.write_text(text)
    with pytest.raises(error, match=says):
        batches(net)


def test_a_reader_that_failed_ends_its_threads_too(tmp_path):
    values = [*(datum(image) for image in pixels(2)), b"no datum"]
    reader = batches(data_net(tmp_path / "net.prototxt", database(tmp_path / "db", values)))
    next(reader)
    with pytest.raises(ParseError, match="00000002"):
        next(reader)
    del reader
    gc.collect()
    assert_threads_end()
