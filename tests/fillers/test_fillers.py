import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from caffe_compat import caffe_pb2, fillers
from caffe_compat.caffe_pb2 import FillerParameter
from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.fillers.rng import BoostRng, FastRng

NETS = Path(__file__).parents[1] / "golden" / "random_nets"
PARAMS = {
    "Convolution": ("convolution_param", "weight_filler", "bias_filler"),
    "Deconvolution": ("convolution_param", "weight_filler", "bias_filler"),
    "InnerProduct": ("inner_product_param", "weight_filler", "bias_filler"),
    "Embed": ("embed_param", "weight_filler", "bias_filler"),
    "Bias": ("bias_param", "filler"),
}


def filler(text="", **fields):
    p = FillerParameter(**fields)
    text_format.Merge(text, p)
    return p


def fill(shape, seed=1701, rng=BoostRng, **fields):
    return fillers.fill(shape, filler(**fields), rng(seed))


def fillers_of(layer):
    if layer.type == "Scale":
        p = layer.scale_param
        return [p.filler if p.HasField("filler") else filler(value=1), p.bias_filler]
    if layer.type == "PReLU":
        p = layer.prelu_param
        return [p.filler if p.HasField("filler") else filler(value=0.25)]
    if layer.type == "BatchNorm":
        return [None] * 3
    param, *names = PARAMS[layer.type]
    return [getattr(getattr(layer, param), name) for name in names]


def nets():
    for folder in sorted(NETS.iterdir()):
        params = json.loads((folder / "net.json").read_text())["params"]
        size = sum(math.prod(blob["shape"]) for blobs in params.values() for blob in blobs)
        marks = [pytest.mark.slow] if size > 5_000_000 else []
        yield pytest.param(folder, id=folder.name, marks=marks)


@pytest.mark.parametrize("folder", list(nets()))
def test_every_weight_that_caffe_drew(folder):
    net = text_format.Parse((folder / "net.prototxt").read_text(), caffe_pb2.NetParameter())
    want = json.loads((folder / "net.json").read_text())
    rng = BoostRng(want["seed"])
    checked = 0
    for layer in net.layer:
        blobs = want["params"].get(layer.name, [])
        for blob, p in zip(blobs, fillers_of(layer) if blobs else [], strict=False):
            data = fillers.fill(blob["shape"], p, rng)
            assert hashlib.sha256(data).hexdigest() == blob["sha256"], (layer, blob)
            checked += 1
    assert checked


def test_no_filler_is_zeros_and_draws_nothing():
    r = BoostRng(1)
    assert not fillers.fill((2, 3), None, r).any()
    assert not fillers.fill((), filler(), r).any()
    assert r.next_u32() == BoostRng(1).next_u32()


def test_constant():
    assert fill((), value=0.25).tolist() == 0.25
    assert fill((2, 3), value=float("3e-39")).tolist() == [[float(np.float32(3e-39))] * 3] * 2


@pytest.mark.parametrize("shape", [(5,), (7, 5), (2, 3, 4), (4, 3, 5, 2), (2, 3, 2, 4, 5)])
@pytest.mark.parametrize("name", [name for name in fillers.FILLERS if name != "bilinear"])
@pytest.mark.parametrize("rng", [BoostRng, FastRng])
def test_any_rank(name, shape, rng):
    data = fill(shape, rng=rng, type=name)
    assert data.shape == shape
    assert data.dtype == np.float32
    assert np.isfinite(data).all()


def test_diagonal():
    data = fillers.fill((3, 2, 1, 5), filler('type: "diagonal" diag_val: 20'), BoostRng(1))
    wanted = np.zeros((3, 2, 1, 5))
    wanted[0, 0], wanted[1, 1] = 4, 0.2
    np.testing.assert_allclose(data, wanted, rtol=1e-6)


FANS = [  # shape, fan in, fan out, their average
    ((6, 5, 4, 3), 60, 72, 66),
    ((7, 5), 5, 7, 6),
    ((5,), 1, 5, 3),
    ((2, 3, 2, 5, 7), 210, 140, 175),
    ((3, 4, 1), 4, 3, 3.5),
]


@pytest.mark.parametrize(("shape", "fan_in", "fan_out", "average"), FANS)
def test_fans(shape, fan_in, fan_out, average):
    for norm, want in enumerate((fan_in, fan_out, average)):
        n = fillers.fan(shape, norm)
        assert n == want
        assert n.dtype == np.float32
        p = filler(type="msra", variance_norm=norm)
        assert fillers.sigma(shape, p) == np.sqrt(np.float32(2) / np.float32(want))
        bound = np.sqrt(np.float32(3) / np.float32(want))
        assert abs(fill(shape, type="xavier", variance_norm=norm)).max() <= bound


@pytest.mark.parametrize("generation", ["boost-1.64", "boost-1.55"])
def test_slope_scales_the_same_draws(generation):
    shape = (20, 30, 3, 3)
    caffe = fillers.fill(shape, filler(type="msra"), BoostRng(1, generation))
    same = fillers.fill(shape, filler(type="msra", a=0), BoostRng(1, generation))
    assert same.tobytes() == caffe.tobytes()
    sloped = fillers.fill(shape, filler(type="msra", a=0.25), BoostRng(1, generation))
    std = np.sqrt(np.float32(2) / np.float32((1 + 0.25**2) * 270))
    assert sloped.tobytes() == BoostRng(1, generation).normal(0, std, 5400).tobytes()
    assert np.allclose(sloped, caffe / np.sqrt(1 + 0.25**2), rtol=3e-7, atol=0)
    assert fillers.sigma(shape, filler(type="msra", a=-0.25)) == std


def test_sparse_keeps_the_draws_and_the_signs():
    shape = (4, 500)
    dense = fill(shape, type="gaussian", std=0.5)
    data = fill(shape, type="gaussian", std=0.5, sparse=1)
    mask = data != 0
    assert np.array_equal(data[mask], dense[mask])
    assert np.array_equal(np.signbit(data), np.signbit(dense))
    assert 0.2 < mask.mean() < 0.3
    assert not fill(shape, type="gaussian", sparse=0).any()
    assert fill(shape, type="gaussian", sparse=4).all()
    r = BoostRng(1)
    fillers.fill(shape, filler(type="gaussian", sparse=1), r)
    again = BoostRng(1)
    again.normal(0, 1, 2000)
    assert r.next_u32() == again.u32(2001)[-1]


def test_positive_unitball_sums_to_1():
    data = fill((3, 5, 7), type="positive_unitball")
    assert (data >= 0).all()
    assert np.allclose(data.reshape(3, -1).sum(axis=1), 1, rtol=1e-6)


def test_bilinear():
    kernel = fill((2, 3, 4, 4), type="bilinear")
    line = np.array([1, 3, 3, 1]) / 4
    assert np.array_equal(kernel, np.broadcast_to(np.outer(line, line), (2, 3, 4, 4)))
    odd = fill((1, 2, 3, 3), type="bilinear")[0, 1]
    assert np.array_equal(odd, np.outer([0.5, 1, 0.5], [0.5, 1, 0.5]))


SQUARE = (3, 2, 4, 4)
WRONG = [  # filler, shape, what the error says
    ('type: "gaussian" std: 0', SQUARE, r"sigma > 0 \(0 vs\. 0\)"),
    ('type: "gaussian" std: -2', SQUARE, r"sigma > 0 \(-2 vs\. 0\)"),
    ('type: "gaussian" std: nan', SQUARE, "std is nan"),
    ('type: "gaussian" mean: -inf', SQUARE, "mean is -inf"),
    ('type: "uniform" min: 2', SQUARE, r"a <= b \(2 vs\. 1\)"),
    ('type: "uniform" max: inf', SQUARE, "max is inf"),
    ("value: nan", SQUARE, "value is nan"),
    ("value: -inf", SQUARE, "value is -inf"),
    ('type: "msra" a: nan', SQUARE, "a is nan"),
    ('type: "msra" a: 1e30', SQUARE, r"sigma > 0 \(0 vs\. 0\)"),
    ('type: "gaussian" sparse: 4', SQUARE, "sparse 4 is not within 3 outputs"),
    ('type: "gaussian" sparse: -2', SQUARE, "sparse -2"),
    ('type: "gaussian" sparse: 1', (), "axis 0 out of range for 0-D Blob"),
    ("sparse: 3", SQUARE, r"\(3 vs\. -1\): Sparsity not supported"),
    ('type: "uniform" sparse: 3', SQUARE, "Sparsity not supported"),
    ('type: "xavier" sparse: 0', SQUARE, "Sparsity not supported"),
    ('type: "msra" sparse: 3', SQUARE, "Sparsity not supported"),
    ('type: "positive_unitball" sparse: 3', SQUARE, "Sparsity not supported"),
    ('type: "bilinear" sparse: 3', SQUARE, "Sparsity not supported"),
    ('type: "bilinear"', (3, 4), r"num_axes\(\) == 4 \(2 vs\. 4\): Blob must be 4 dim\."),
    ('type: "bilinear"', (3, 2, 1, 4), r"\(4 vs\. 1\): Filter must be square"),
    ('type: "xavier"', (), r"axis 0 out of range for 0-D Blob with shape \(1\)"),
    ('type: "msra"', (), r"axis 0 out of range for 0-D Blob with shape \(1\)"),
    ('type: "positive_unitball"', (), "axis 0 out of range for 0-D Blob"),
    ('type: "msra"', (3, 0), r"shape 3 0 \(0\)"),
    ("", (2**16, 2**16), "4294967296"),
]


@pytest.mark.parametrize(("text", "shape", "message"), WRONG, ids=str)
@pytest.mark.parametrize("rng", [BoostRng, FastRng])
def test_where_caffe_aborts(text, shape, message, rng):
    with pytest.raises(ShapeError, match=message):
        fillers.fill(shape, filler(text), rng(1))


@pytest.mark.parametrize("name", ["gaussian_unitball", "xiangyu", "file", "gabor"])
def test_forks_are_refused_by_name(name):
    with pytest.raises(UnsupportedError, match=f"{name}.*fork"):
        fill((3, 2), type=name)


@pytest.mark.parametrize("name", ["orthogonal", "MSRA", "", "fill"])
def test_unknown_names(name):
    with pytest.raises(UnsupportedError, match=f"Unknown filler name: {name} .*msra"):
        fill((3, 2), type=name)
