"""The plugin, driven by a stand-in for pycaffe's Layer and Blob, and by Caffe itself if here."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from caffe_compat import plugin
from caffe_compat.errors import ParseError, ShapeError, UnsupportedError, WeightsError

from .cases import GOLDEN, assert_close, check_both, check_gradients, load, make


class Blob:
    """caffe.Blob as Python layers see it."""

    def __init__(self, *shape):
        self.reshape(*shape)

    def reshape(self, *shape):
        self.data, self.diff = np.zeros(shape, np.float32), np.zeros(shape, np.float32)


class BlobVec(list):
    def add_blob(self, *shape):
        self.append(Blob(*shape))


def skip_beside_caffe():
    if issubclass(plugin.PReLULayer, getattr(sys.modules.get("caffe"), "Layer", ())):
        pytest.skip("a real Caffe is here, and makes the layers itself")


def live(param_str, *blobs):
    """Return a layer as Caffe builds it: constructed, then given the prototxt's param_str."""
    skip_beside_caffe()
    layer = plugin.PReLULayer()
    layer.param_str, layer.blobs = param_str, BlobVec(blobs)
    return layer


def settings(prelu):
    """Return a PReLUParameter as a param_str."""
    filler = ", ".join(f"{field.name}: {value}" for field, value in prelu.filler.ListFields())
    both = [f"channel_shared: {str(prelu.channel_shared).lower()}"] * prelu.channel_shared
    return ", ".join(both + [f"filler: {{{filler}}}"] * prelu.HasField("filler"))


def blob_of(array):
    blob = Blob(*array.shape)
    blob.data[...] = array
    return blob


@pytest.mark.parametrize("case", sorted(p.name for p in (GOLDEN / "layers").glob("prelu_*")))
def test_prelu_is_caffes(case):
    net, io = load(GOLDEN / "layers" / case)
    (index,) = (i for i, node in enumerate(net.graph.nodes) if node.layer.name == "prelu")
    node = net.graph.nodes[index]
    values = net.run({"data": io["in:data"]})
    last = 2 if "inplace" in case else 1  # there a Power of 2 x follows
    bottom = blob_of(values[node.bottoms[0].name])
    top = bottom if "inplace" in case else Blob(1)
    layer = live(settings(node.layer.p))
    layer.setup([bottom], [top])
    layer.blobs[0].data[...] = net.arrays[index][0]
    layer.reshape([bottom], [top]) if top is not bottom else None
    layer.forward([bottom], [top])
    assert_close(last * top.data, io["out:out"], 1e-6, "forward")
    top.diff[...] = last * io["topdiff:out"]
    layer.backward([top], [True], [bottom])
    assert_close(layer.blobs[0].diff, io["paramdiff:prelu:0"], 1e-5, "slopes' gradient")
    if top is not bottom:
        assert_close(bottom.diff, io["indiff:data"], 1e-6, "bottom's gradient")
    before = layer.blobs[0].diff.copy()
    top.diff[...] = last * io["topdiff:out"]
    layer.backward([top], [True], [bottom])
    assert_close(layer.blobs[0].diff, 2 * before, 1e-6, "a second pass adds")


def test_bottom_is_left_alone():
    bottom, top = blob_of(np.float32([[-2, 3]])), Blob(1)
    layer = live("")
    layer.setup([bottom], [top])
    layer.reshape([bottom], [top])
    layer.forward([bottom], [top])
    assert top.data.tolist() == [[-0.5, 3]]
    top.diff[...] = 1
    layer.backward([top], [False], [bottom])
    assert not bottom.diff.any()
    assert layer.blobs[0].diff.tolist() == [-2, 0]


def test_reshape_follows_the_bottom():
    bottom, top = Blob(2, 3, 4, 5), Blob(1)
    layer = live("")
    layer.setup([bottom], [top])
    bottom.reshape(1, 3, 7, 2)
    layer.reshape([bottom], [top])
    assert top.data.shape == (1, 3, 7, 2)
    bottom.reshape(1, 4, 7, 2)
    with pytest.raises(ShapeError, match=r"PReLULayer: the bottom is \(1, 4, 7, 2\) now"):
        layer.reshape([bottom], [top])


def test_slopes_carried_by_the_prototxt_stay():
    carried = blob_of(np.float32([[[[0.5, 0.75]]]]))
    layer = live("", carried)
    bottom, top = blob_of(np.float32([[-2, -4]])), Blob(1, 2)
    layer.setup([bottom], [top])
    layer.forward([bottom], [top])
    assert top.data.tolist() == [[-1, -3]]
    top.diff[...] = 1
    layer.backward([top], [True], [bottom])
    assert carried.diff.tolist() == [[[[-2, -4]]]]
    with pytest.raises(
        ShapeError, match=r"has the blobs \[\(1, 1, 1, 2\)\] instead of one of \(3,\)"
    ):
        live("", carried).setup([Blob(1, 3)], [Blob(1)])


def test_param_str_errors_name_the_layer():
    with pytest.raises(ParseError, match=r"^PReLULayer: param_str: unknown chanel_shared \(known"):
        live("chanel_shared: true").setup([Blob(2, 3)], [Blob(1)])


def test_random_filler_follows_the_seed():
    def slopes(text):
        layer = live(text)
        layer.setup([Blob(2, 300)], [Blob(1)])
        return layer.blobs[0].data

    text = "filler: {type: uniform, min: -0.25, max: 0.75}"
    same = slopes(text + " seed: 1701")
    assert np.array_equal(slopes(text), same)
    assert not np.array_equal(slopes(text + " seed: 3"), same)
    assert -0.25 <= same.min() < -0.2
    assert 0.7 < same.max() <= 0.75


def test_setup_errors():
    with pytest.raises(ShapeError, match="takes one bottom and one top, and has 2, 1"):
        live("").setup([Blob(2, 3), Blob(2, 3)], [Blob(1)])
    with pytest.raises(ShapeError, match=r"needs a bottom of 2 axes or more, and has \(3,\)"):
        live("").setup([Blob(3)], [Blob(1)])
    with pytest.raises(UnsupportedError, match="PReLULayer: filler 'gabor'"):
        live("filler: {type: gabor}").setup([Blob(2, 3)], [Blob(1)])


PYTHON = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 3 dim: 5 dim: 4 } } }
layer { name: "r" type: "Python" bottom: "data" top: "out" python_param {
  module: "caffe_compat.plugin" layer: "PReLULayer"
  param_str: "filler: {type: uniform, min: -0.5, max: 0.5}" } }
"""


def test_net_with_the_python_layer_converts():
    native = PYTHON.replace("Python", "PReLU").replace("python_param", "prelu_param")
    start = native.index("module:")
    native = native[:start] + "filler { type: 'uniform' min: -0.5 max: 0.5 } } }"
    assert_close(check_both(PYTHON)["out"], check_both(native)["out"], 0)
    check_gradients(PYTHON)


# -- fill -------------------------------------------------------------------------------------


class LiveNet:
    """caffe.Net as `fill` sees it."""

    def __init__(self, net, *, blobs=False):
        owners = {}
        self.params = {
            node.layer.name: [
                owners.setdefault(owner, Blob(*array.shape))
                for owner, array in zip(node.owners, net.arrays[i], strict=True)
            ]
            for i, node in enumerate(net.graph.nodes)
            if node.blobs
        }
        if blobs:
            self.blobs = {value.blob: Blob(*value.shape) for value in net.graph.values}


CHAIN = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 3 dim: 9 dim: 8 } } }
layer { name: "a" type: "Convolution" bottom: "data" top: "a" convolution_param {
  num_output: 4 kernel_size: 3 weight_filler { type: "msra" } bias_filler { value: 0.5 } } }
layer { name: "ra" type: "PReLU" bottom: "a" top: "a" }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" inner_product_param {
  num_output: 40 weight_filler { type: "msra" } } }
layer { name: "c" type: "InnerProduct" bottom: "b" top: "c" param { name: "w" }
  inner_product_param { num_output: 40 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "d" type: "InnerProduct" bottom: "c" top: "d" param { name: "w" }
  inner_product_param { num_output: 40 bias_term: false weight_filler { type: "xavier" } } }
"""


def written(tmp_path, text):
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    return path


def test_fill_draws_what_caffe_draws(tmp_path):
    net = make(CHAIN)
    there = LiveNet(net)
    done = plugin.fill(there, written(tmp_path, CHAIN), seed=1701, slopes=None)
    for index, node in enumerate(net.graph.nodes):
        for i, array in enumerate(net.arrays[index]):
            got = there.params[node.layer.name][i].data
            assert got.tobytes() == array.tobytes(), (node.layer.name, i)
    assert [(f.layer, f.place) for f in done] == [
        ("a", 0),
        ("a", 1),
        ("ra", 0),
        ("b", 0),
        ("b", 1),
        ("c", 0),
    ]
    assert done[0] == ("a", 0, (4, 3, 3, 3), 'type: "msra"')
    assert done[1].filler == 'type: "constant" value: 0.5'
    assert done[4].filler == 'type: "constant"'


def test_fill_takes_the_slope_that_is_stated(tmp_path):
    plain, sloped = LiveNet(make(CHAIN)), LiveNet(make(CHAIN))
    path = written(tmp_path, CHAIN)
    plugin.fill(plain, path, slopes=None)
    path.write_text(CHAIN.replace('type: "msra"', 'type: "msra" a: 2', 1))
    plugin.fill(sloped, path, slopes=None)
    ratio = plain.params["a"][0].data / sloped.params["a"][0].data
    assert np.allclose(ratio, np.sqrt(5), rtol=1e-6)
    assert np.array_equal(plain.params["b"][0].data, sloped.params["b"][0].data)


def test_fill_takes_open_shapes_from_the_live_net(tmp_path):
    shape = "input_param { shape { dim: 2 dim: 3 dim: 9 dim: 8 } }"
    there = LiveNet(make(CHAIN), blobs=True)
    for open_data in (
        'type: "Data" top: "data" data_param { batch_size: 2 }',
        'type: "Python" top: "data" python_param { module: "loader" layer: "Loader" }',
    ):
        text = CHAIN.replace(f'type: "Input" top: "data"\n  {shape}', open_data)
        assert open_data in text
        plugin.fill(there, written(tmp_path, text), slopes=None, phase="TEST")
        assert there.params["a"][0].data.std() == pytest.approx(np.sqrt(2 / 27), rel=0.3)
        with pytest.raises((ShapeError, UnsupportedError), match="layer 'data'"):
            plugin.fill(LiveNet(make(CHAIN)), written(tmp_path, text))


def test_fill_refuses_another_net_and_leaves_it(tmp_path):
    there = LiveNet(make(CHAIN))
    path = written(tmp_path, CHAIN.replace("num_output: 40", "num_output: 41"))
    message = (
        r"layer 'b' has the blobs \[\(41, 168\), \(41,\)\] by the prototxt in TRAIN, "
        r"and \[\(40, 168\), \(40,\)\] in the net"
    )
    with pytest.raises(WeightsError, match=message):
        plugin.fill(there, path)
    only_in_train = 'name: "e" type: "PReLU" bottom: "d" top: "d" include { phase: TRAIN }'
    path = written(tmp_path, f"{CHAIN} layer {{ {only_in_train} }}")
    with pytest.raises(WeightsError, match=r"layer 'e' has the blobs \[\(40,\)\].* and none in"):
        plugin.fill(there, path)
    assert not any(blob.data.any() for blobs in there.params.values() for blob in blobs)
    plugin.fill(there, path, phase="TEST")
    there.params["more"] = [Blob(3)]
    with pytest.raises(WeightsError, match=r"layer 'more' has the blobs none .*\[\(3,\)\] in"):
        plugin.fill(there, path, phase="TEST")


def test_fill_refuses_names_that_pycaffe_confuses(tmp_path):
    text = CHAIN.replace('name: "b"', 'name: "a"')
    with pytest.raises(WeightsError, match="2 layers with parameters are named 'a'"):
        plugin.fill(LiveNet(make(text)), written(tmp_path, text))


def test_nothing_heavy_is_imported(tmp_path):
    skip_beside_caffe()
    path = written(tmp_path, CHAIN)
    code = f"""
import sys
from caffe_compat import plugin
class None_:
    params = {{}}
try:
    plugin.fill(None_(), {str(path)!r})
except ValueError as error:
    assert "none in the net" in str(error), error
heavy = {{"onnx", "onnxruntime", "h5py", "rich", "typer", "PIL"}} & set(sys.modules)
assert not heavy, heavy
from google.protobuf import descriptor_pool
try:
    descriptor_pool.Default().FindFileByName("caffe/proto/caffe.proto")
except KeyError:
    pass
else:
    raise AssertionError("registered where pycaffe registers its own")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# -- a real Caffe, where there is one -----------------------------------------------------------

LAYERS = {
    "native": 'type: "PReLU" prelu_param {{ channel_shared: {shared} filler {{ value: 0.3 }} }}',
    "plugin": 'type: "Python" python_param {{ module: "caffe_compat.plugin" layer: "PReLULayer" '
    'param_str: "channel_shared: {shared}, filler: {{value: 0.3}}" }}',
}
TRAINED = """
layer {{ name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {{
  shape {{ dim: 7 dim: 3 dim: 13 dim: 11 }} shape {{ dim: 7 }}
  data_filler {{ type: "gaussian" }} data_filler {{ type: "uniform" min: 0 max: 4.99 }} }} }}
layer {{ name: "c1" type: "Convolution" bottom: "data" top: "c1" convolution_param {{
  num_output: 8 kernel_size: 3 weight_filler {{ type: "msra" }} }} }}
layer {{ name: "r1" bottom: "c1" top: "{top}" {layer} }}
layer {{ name: "c2" type: "Convolution" bottom: "{top}" top: "c2" convolution_param {{
  num_output: 6 kernel_size: 3 stride: 2 weight_filler {{ type: "msra" }} }} }}
layer {{ name: "r2" bottom: "c2" top: "c2" {layer} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "c2" top: "ip" inner_product_param {{
  num_output: 5 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
"""


@pytest.mark.parametrize("shared", ["true", "false"])
@pytest.mark.parametrize("top", ["r1", "c1"])
def test_beside_caffes_own(tmp_path, shared, top):
    caffe = pytest.importorskip("caffe", reason="no Caffe is built here")
    solvers = {}
    for kind, layer in LAYERS.items():
        net = tmp_path / f"{kind}.prototxt"
        net.write_text(TRAINED.format(layer=layer.format(shared=shared), top=top))
        solver = tmp_path / f"{kind}_solver.prototxt"
        solver.write_text(
            f'net: "{net}" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 '
            "weight_decay: 0.001 iter_size: 2 random_seed: 1701 max_iter: 100"
        )
        solvers[kind] = caffe.get_solver(str(solver))
    nets = {kind: solver.net for kind, solver in solvers.items()}
    for net in nets.values():
        caffe.set_random_seed(3)
        net.forward()
        net.backward()
    for name, blob in nets["native"].blobs.items():
        assert np.array_equal(nets["plugin"].blobs[name].data, blob.data), name
        assert np.array_equal(nets["plugin"].blobs[name].diff, blob.diff), name
    for solver in solvers.values():
        caffe.set_random_seed(11)
        solver.step(20)
    for name, blobs in nets["native"].params.items():
        for mine, blob in zip(nets["plugin"].params[name], blobs, strict=True):
            assert_close(mine.data, blob.data, 1e-5, name)
            assert_close(mine.diff, blob.diff, 1e-4, name)
    for kind, net in nets.items():
        plugin.fill(net, tmp_path / f"{kind}.prototxt", seed=1701, slopes=None)
    fresh = caffe.get_solver(str(tmp_path / "native_solver.prototxt")).net
    for name, blobs in fresh.params.items():
        for i, blob in enumerate(blobs):
            for net in nets.values():
                assert np.array_equal(net.params[name][i].data, blob.data), (name, i)
