from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.pycaffe.blob import Blob, BlobVec, Memory, memories, share_data


def test_data_and_diff_are_views_of_lasting_memory():
    blob = Blob((2, 3))
    assert blob.data.dtype == blob.diff.dtype == np.float32
    assert not blob.data.any()
    blob.data[1] = 5
    assert blob.data[1].tolist() == [5, 5, 5]
    assert np.shares_memory(blob.data, blob.data)
    with pytest.raises(AttributeError, match="no setter"):
        blob.data = np.zeros((2, 3))
    with pytest.raises(ValueError, match="could not broadcast"):
        blob.data[...] = np.zeros((3, 3))


def test_a_smaller_shape_keeps_the_memory_and_a_larger_one_is_new():
    blob = Blob((2, 3))
    before = blob.data
    blob.reshape(4)
    assert np.shares_memory(before, blob.data)
    assert list(blob.shape) == [4]
    blob.reshape(2, 3)
    assert np.shares_memory(before, blob.data)
    blob.reshape(7)
    assert not np.shares_memory(before, blob.data)
    assert not blob.data.any()


def test_a_scalar():
    blob = Blob()
    blob.reshape()
    assert blob.data.shape == ()
    assert blob.count == 1
    blob.data[()] = 3
    assert blob.data == 3


def test_reshape_takes_whole_numbers_one_by_one():
    blob = Blob((2, 3))
    blob.reshape(np.int64(3), 2)
    assert blob.data.shape == (3, 2)
    with pytest.raises(RuntimeError, match="takes no kwargs"):
        blob.reshape(num=1)
    with pytest.raises(TypeError, match="given a float"):
        blob.reshape(1.0, 2)
    with pytest.raises(TypeError, match="given a tuple"):
        blob.reshape((1, 2))
    with pytest.raises(ValueError, match="no negative size"):
        blob.reshape(-1, 2)
    with pytest.raises(ValueError, match="at most 32 axes"):
        blob.reshape(2**16, 2**15)
    assert blob.data.shape == (3, 2)


def test_legacy_accessors():
    blob = Blob((5, 4, 3))
    assert (blob.num, blob.channels, blob.height, blob.width, blob.count) == (5, 4, 3, 1, 60)
    with pytest.raises(ValueError, match="legacy accessors on Blobs with > 4 axes"):
        _ = Blob((1, 1, 1, 1, 1)).num


def test_shared_data_is_one_memory():
    one, other = Blob((2, 3)), Blob((3, 2))
    share_data(other, one)
    one.data[0, 1] = 9
    assert other.data[0, 1] == 9
    assert memories(one)[1] is not memories(other)[1]


def test_memory_is_filled_when_first_read_unless_all_is_overwritten():
    fills = []
    memory = Memory(3)
    memory.fill_later(lambda array: (fills.append(1), array.fill(2)))
    assert not fills
    assert memory.array.tolist() == [2, 2, 2]
    assert memory.array.tolist() == [2, 2, 2]
    assert len(fills) == 1
    memory.fill_later(lambda array: fills.append(1))
    memory.overwrite()[...] = 1
    assert memory.array.tolist() == [1, 1, 1]
    assert len(fills) == 1


def test_add_blob():
    blobs = BlobVec()
    blobs.add_blob(2, 3)
    blobs.add_blob()
    assert [blob.data.shape for blob in blobs] == [(2, 3), ()]
    with pytest.raises(RuntimeError, match="takes no kwargs"):
        blobs.add_blob(shape=3)
