"""HDF5 files on a full disk: one error, no part of a file, and a process that lives on."""

from __future__ import annotations

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from caffe_compat.errors import CaffeCompatError
from caffe_compat.weights import hdf5_file

FULL = """
import resource
import sys

import h5py
import numpy as np

from caffe_compat.errors import CaffeCompatError
from caffe_compat.weights import hdf5_file

path, limit, groups, count = sys.argv[1], *map(int, sys.argv[2:])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    with hdf5_file.creating(path) as file:
        for i in range(groups):
            file.create_group(f"a layer's name/{i}").create_dataset("0", data=np.ones(count))
except CaffeCompatError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
@pytest.mark.parametrize(
    ("limit", "groups", "count"),
    # from the first byte on; in the first, in a later array; in what closing writes
    [(1, 1, 9), (100, 4, 2000), (3000, 4, 2000), (100_000, 4, 9000), (1000, 2000, 1)],
)
def test_a_full_disk(tmp_path, limit, groups, count):
    path = tmp_path / "a.h5"
    command = [sys.executable, "-c", FULL, *map(str, (path, limit, groups, count))]
    # Coverage of subprocesses would write to the full disk too.
    environment = {key: value for key, value in os.environ.items() if "COVERAGE" not in key}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == (f"{path}: cannot be written: File too large\n", "")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_many_groups_is_sound(tmp_path):
    """HDF5 reads its own index back while it grows."""
    path = tmp_path / "a.h5"
    with hdf5_file.creating(path) as file:
        for i in range(3000):
            file.create_group(f"data/{i}").create_dataset("0", data=np.arange(i % 9))
    with h5py.File(path) as file:
        assert len(file["data"]) == 3000
        for i in range(3000):
            assert file[f"data/{i}/0"][:].tolist() == list(range(i % 9))


def test_an_error_of_the_block_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(b"old")
    with pytest.raises(CaffeCompatError, match="mine"), hdf5_file.creating(path):
        raise CaffeCompatError("mine")
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"old"]
