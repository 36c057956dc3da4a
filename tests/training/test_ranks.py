"""Two processes on a CPU, which train as one with the doubled batch."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from google.protobuf import text_format

from caffe_compat import weights
from caffe_compat.caffe_pb2 import SolverParameter
from caffe_compat.data import batches
from caffe_compat.errors import ShapeError
from caffe_compat.training import parameters
from caffe_compat.training.feeding import Rows
from caffe_compat.training.ranks import Ranks, Share
from caffe_compat.training.solver import Solver

from ..cases import GOLDEN

LMDB = GOLDEN / "train_data" / "lmdb_crop_mirror"
NET = """
name: "shared"
layer { name: "in" type: "Input" top: "x" top: "label"
  input_param { shape { dim: %d dim: 2 dim: 5 dim: 6 } shape { dim: %d } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "c"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "relu" type: "PReLU" bottom: "c" top: "c" }
layer { name: "ip" type: "InnerProduct" bottom: "c" top: "y" %s
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "label" top: "loss" }
"""
SOLVER = """
type: "%s" base_lr: 0.05 lr_policy: "step" gamma: 0.5 stepsize: 12 weight_decay: 0.01
clip_gradients: 0.9 iter_size: 2 random_seed: 5 max_iter: 20 display: 5 snapshot: 10
snapshot_after_train: true
"""
DROP = 'layer { name: "drop" type: "Dropout" bottom: "c" top: "c" }\nlayer { name: "ip"'


def rows(batch):
    numbers = np.random.default_rng(8)
    images = numbers.standard_normal((20, 2, 5, 6))
    return Rows({"x": images, "label": numbers.integers(0, 3, 20)}, batch)


def solver(batch, prefix, kind="Nesterov", drop=False, **options):
    p = text_format.Parse(SOLVER % kind, SolverParameter())
    if kind == "Nesterov":
        p.momentum = 0.9
    net = NET % (batch, batch, "")
    text_format.Parse(net.replace('layer { name: "ip"', DROP) if drop else net, p.net_param)
    p.snapshot_prefix = str(prefix)
    return Solver(p, data=rows(batch), device="cpu", **options)


def arrays(trained):
    return [np.array(trained.engine.numpy(each)) for each in trained.engine.params]


def work(rank, folder, engine, kind):
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    lines = []
    options = {"engine": engine, "log": lines.append}
    trained = solver(4, f"{folder}/two", kind, **options)
    trained.solve()
    np.savez(f"{folder}/{rank}.npz", *arrays(trained))
    assert bool(lines) == (rank == 0)
    whole = solver(4, f"{folder}/whole", kind, drop=True, **options)
    whole.step(20)
    again = solver(4, f"{folder}/again", kind, drop=True, **options)
    again.restore(f"{folder}/whole_iter_10.solverstate")
    again.step(10)
    for a, b in zip(arrays(whole), arrays(again), strict=True):
        np.testing.assert_array_equal(a, b)
    distributed.destroy_process_group()


@pytest.mark.parametrize(("engine", "kind"), [("torch", "Nesterov"), ("numpy", "Adam")])
def test_two_processes_end_as_one(engine, kind, tmp_path):
    pytest.importorskip("torch").multiprocessing.spawn(
        work, (str(tmp_path), engine, kind), nprocs=2
    )
    one = solver(8, tmp_path / "one", kind, engine=engine)
    one.solve()
    for rank in range(2):
        with np.load(tmp_path / f"{rank}.npz") as file:
            for mine, theirs in zip(file.values(), arrays(one), strict=True):
                np.testing.assert_allclose(mine, theirs, atol=2e-6)
    names = sorted(path.name for path in tmp_path.glob("two_*"))
    assert names == [
        "two_iter_10.caffemodel",
        "two_iter_10.solverstate",
        "two_iter_20.caffemodel",
        "two_iter_20.solverstate",
    ]


def reading(engine, prefix, batch=6, drawn=True):
    """A solver on an LMDB; without what each process draws for itself, with max pooling."""
    p = parameters.read(LMDB / "solver.prototxt")
    p.net_param.CopyFrom(parameters.train_net(p, LMDB).net)
    p.ClearField("net")
    p.ClearField("test_iter")
    p.ClearField("test_interval")
    p.snapshot_prefix = str(prefix)
    p.net_param.layer[0].data_param.batch_size = batch
    if not drawn:
        layers = {layer.name: layer for layer in p.net_param.layer}
        transform = p.net_param.layer[0].transform_param
        transform.ClearField("crop_size")
        transform.ClearField("mirror")
        layers["drop1"].CopyFrom(text_format.Parse(POOL, type(layers["drop1"])()))
        layers["score"].bottom[0] = "pool"
    return Solver(p, folder=LMDB, engine=engine, device="cpu")


POOL = """name: "pool" type: "Pooling" bottom: "conv1" top: "pool"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 }"""


def read_and_work(rank, folder, engine):
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    trained = reading(engine, f"{folder}/two", drawn=False)
    trained.step(12)
    np.savez(f"{folder}/{rank}.npz", *arrays(trained))
    whole = reading(engine, f"{folder}/whole")
    whole.step(5)
    whole.snapshot()
    whole.step(7)
    distributed.barrier()
    again = reading(engine, f"{folder}/again")
    again.restore(f"{folder}/whole_iter_5.solverstate")
    again.step(7)
    for a, b in zip(arrays(whole), arrays(again), strict=True):
        np.testing.assert_array_equal(a, b)
    distributed.destroy_process_group()


@pytest.mark.parametrize("engine", ["torch", "numpy"])
def test_two_processes_share_an_lmdb(engine, tmp_path):
    pytest.importorskip("lmdb")
    pytest.importorskip("cv2")
    torch = pytest.importorskip("torch")
    torch.multiprocessing.spawn(read_and_work, (str(tmp_path), engine), nprocs=2)
    one = reading(engine, tmp_path / "one", batch=12, drawn=False)
    one.step(12)
    for rank in range(2):
        with np.load(tmp_path / f"{rank}.npz") as file:
            for mine, theirs in zip(file.values(), arrays(one), strict=True):
                np.testing.assert_allclose(mine, theirs, atol=2e-6)


def test_the_command(tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "net.prototxt").write_text(NET % (4, 4, ""))
    (tmp_path / "solver.prototxt").write_text(
        SOLVER % "SGD" + 'net: "net.prototxt" momentum: 0.9 snapshot_prefix: "snap"'
    )
    everything = rows(20)
    for name, array in next(everything).items():
        np.save(tmp_path / f"{name}.npy", array)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    train = ["-m", "caffe_compat.converters", "train", "solver.prototxt", "--device", "cpu"]
    feeds = ["--feed", "x=x.npy", "--feed", "label=label.npy"]
    done = subprocess.run(
        [*launcher, *train, *feeds],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Iteration 5 (") == 1  # one process logs
    assert done.stderr.count("note: reads") == 1
    one = solver(8, tmp_path / "one", "SGD", engine="torch")
    one.param.momentum = 0.9
    one.solve()
    blobs = [
        np.array(blob.array)
        for layer in weights.read(tmp_path / "snap_iter_20.caffemodel").layers
        for blob in layer.blobs
    ]
    for mine, theirs in zip(blobs, arrays(one), strict=True):
        np.testing.assert_allclose(mine.ravel(), theirs.ravel(), atol=2e-6)


def test_a_share_of_the_batches():
    shares = [Share(rows(3), "data", Ranks(rank, 3)) for rank in range(3)]
    whole = rows(3)
    for _ in range(4):
        for share in shares:
            np.testing.assert_array_equal(share.next()["x"], next(whole)["x"])
    assert len({share.state() for share in shares}) == 1


class Counted(Rows):
    """Rows that count how many batches are made."""

    def __init__(self, *args):
        super().__init__(*args)
        self.count = 0

    def __next__(self):
        self.count += 1
        return super().__next__()


def test_the_batches_of_other_processes_are_not_made():
    source = Counted({"x": np.arange(20.0)}, 3)
    share = Share(source, "data", Ranks(1, 4))
    assert [share.next()["x"].tolist() for _ in range(3)] == [[3, 4, 5], [15, 16, 17], [7, 8, 9]]
    assert source.count == 3


def test_a_share_goes_on_behind_the_batch_that_gave_the_shapes():
    for rank in range(3):
        shares = [
            Share(source, "data", Ranks(rank, 3))
            for source in (Rows({"x": np.arange(20.0)}, 3), list(rows_of_one(20)))
        ]
        assert [share.shapes()["x"][1:] for share in shares] == [()] * 2
        for share in shares:
            share.next()
        assert shares[0].next()["x"][0] == 3 * (3 + rank) % 20
        assert shares[1].next()["x"][0] == 3 + rank


def rows_of_one(count):
    return ({"x": np.full(1, i)} for i in range(count))


def test_a_reader_of_one_rank_is_not_shared_out_again():
    paths = {"rank": 1, "ranks": 2, "root": LMDB}
    net = LMDB / "net.prototxt"
    with batches(net, **paths) as whole, batches(net, **paths) as part:
        share = Share(part, "data", Ranks(1, 2))
        for _ in range(3):
            np.testing.assert_array_equal(share.next()["label"], next(whole)["label"])
        with pytest.raises(ShapeError, match="read as rank 1 of 2, and this process is 1 of 3"):
            Share(part, "data", Ranks(1, 3))
