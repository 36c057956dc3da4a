"""The prototxt for a stock Caffe: no `a`, and the same bits."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
from google.protobuf import text_format

from caffe_compat import pipeline
from caffe_compat.caffe_pb2 import NetParameter
from caffe_compat.errors import ParseError, UnsupportedError
from caffe_compat.net.stock import save_stock
from caffe_compat.prototxt import reader

from ..cases import GOLDEN
from ..slope_nets import INPUT, conv, layer

NET = (
    INPUT
    + conv("conv1", "data", outputs=5, kernel=4)
    + layer("PReLU", "conv1", "conv1")
    + conv("conv2", "conv1", outputs=7, kernel=2, norm="AVERAGE")
    + layer("TanH", "conv2", "conv2")
    + conv("conv3", "conv2", outputs=3, a="a: 0.5", norm="FAN_OUT")
    + layer("ReLU", "conv3", "conv3", "relu_param { negative_slope: 0.1 }")
    + layer(
        "InnerProduct",
        "conv3",
        "fc",
        'inner_product_param { num_output: 4 weight_filler { type: "msra" a: 0.25 } }',
        "fc",
    )
)

# The weights that BVLC Caffe at 9b891540 (Boost 1.74) gives the net above, at seed 1701, from the
# prototxt that this project writes for it: sha256 of each weight blob.
CAFFE = {
    "auto": {
        "conv1": "4d9b9b1f9d1ee8606a29a0707eeb10a6012b2003dde98752e9420063b7a4bf43",
        "conv2": "882ed9e88e8c0beebc4c99f1d4958d4b7b0d41512860f93cbd220e5fea4808c2",
        "conv3": "80652fe33b7fca41a0959bcf1461c3e489a270838499b8caaed89eac801ded72",
        "fc": "7b13a32b4c4c2706e08329f782d796dc4d69c1020be0502823b7a6b553b835dd",
    },
    None: {
        "conv1": "64695532f2b63999c82bffc49a0b5e1ef9299db1ce551886048b58c326ff261e",
        "conv2": "e1b90d222f2640b507df56ebdeb7853df612f5b2a749d710f0cdb48b80ea0a33",
        "conv3": "1f632a224101c8fe62aeb3f87d56255e83acefa1c85f1466cbf0859d8a742ecd",
        "fc": "a1fc366cf7ae8b96228782aac614b62ecef55e487fdeec8640352f2137b089c6",
    },
}


def digests(net):
    return {
        node.layer.name: hashlib.sha256(arrays[0].tobytes()).hexdigest()
        for node, arrays in zip(net.graph.nodes, net.arrays, strict=True)
        if len(arrays) == 2
    }


def write(tmp_path, text, **options):
    """Return the filled net, and the stock prototxt's path."""
    path, out = tmp_path / "net.prototxt", tmp_path / "stock.prototxt"
    path.write_text(text)
    fix_decay = options.pop("fix_decay", False)
    net = pipeline.load(path, **options)
    save_stock(path, net.graph, out, fix_decay=fix_decay)
    return net, out


def stock_of(*arguments, **options):
    _, out = write(*arguments, **options)
    return text_format.Parse(out.read_text(), NetParameter())


@pytest.mark.parametrize("slopes", ["auto", None])
def test_real_caffe_draws_the_same(tmp_path, slopes):
    net, out = write(tmp_path, NET, slopes=slopes)
    assert digests(net) == CAFFE[slopes]
    assert digests(pipeline.load(out)) == CAFFE[slopes]
    assert " a:" not in out.read_text()


RANDOM = [
    folder
    for folder in sorted((GOLDEN / "random_nets").iterdir())
    if '"msra"' in (folder / "net.prototxt").read_text()
]


@pytest.mark.parametrize("folder", RANDOM[:12], ids=lambda folder: folder.name)
def test_random_nets(tmp_path, folder):
    net, out = write(tmp_path, (folder / "net.prototxt").read_text(), slopes="auto", seed=99)
    assert not re.search(r'weight_filler \{\s*type: "msra"', out.read_text())
    again = pipeline.load(out, seed=99)
    for mine, theirs in zip(net.arrays, again.arrays, strict=True):
        assert [a.tobytes() for a in mine] == [a.tobytes() for a in theirs]
    assert [n.layer.name for n in net.graph.nodes] == [n.layer.name for n in again.graph.nodes]


def test_the_printed_std_is_the_same_float32(tmp_path):
    rng = np.random.default_rng(4)
    text = 'input: "d" input_shape { dim: 1 dim: 3 }\n' + "".join(
        layer(
            "InnerProduct",
            "d",
            f"t{i}",
            f'inner_product_param {{ num_output: 2 weight_filler {{ type: "msra" a: {a!r} }} }}',
            f"l{i}",
        )
        for i, a in enumerate((10 ** rng.uniform(-4, 4, 200)).tolist())
    )
    net, out = write(tmp_path, text)
    written = text_format.Parse(out.read_text(), NetParameter()).layer[1:]
    again = pipeline.load(out)
    for i, proto in enumerate(written, 1):
        assert proto.inner_product_param.weight_filler.type == "gaussian"
        assert net.arrays[i][0].tobytes() == again.arrays[i][0].tobytes()


def test_every_phase_is_kept(tmp_path):
    text = (
        NET
        + layer("Dropout", "fc", "fc", "include { phase: TRAIN }")
        + layer(
            "InnerProduct",
            "fc",
            "aux",
            'inner_product_param { num_output: 6 weight_filler { type: "msra" } } '
            "include { phase: TRAIN }",
            "aux",
        )
    )
    written = stock_of(tmp_path, text, slopes="auto")
    assert [p.name for p in written.layer[-2:]] == ["dropout", "aux"]
    assert not any(p.HasField("phase") for p in written.layer)
    assert written.layer[-1].inner_product_param.weight_filler.type == "msra"  # not of this phase
    written = stock_of(tmp_path, text, slopes="auto", phase="TRAIN")
    assert written.layer[-1].inner_product_param.weight_filler.type == "gaussian"


def test_layers_of_one_name_in_two_phases(tmp_path):
    text = INPUT + "".join(
        conv("one", "data", outputs=n, a="a: 1", more=f"include {{ phase: {phase} }}")
        for n, phase in ((3, "TRAIN"), (5, "TEST"))
    )
    message = (
        r"layer 'one' \(Convolution\): its weight_filler has a = 1, and the layer is not in "
        "the net of this phase"
    )
    with pytest.raises(UnsupportedError, match=message):
        write(tmp_path, text)
    train, test = stock_of(tmp_path, text.replace("a: 1", "", 1)).layer[1:]
    assert train.convolution_param.weight_filler.type == "msra"
    assert test.convolution_param.weight_filler.type == "gaussian"
    assert test.convolution_param.num_output == 5


def test_msra_stays_msra_where_nothing_sets_a_slope(tmp_path):
    written = stock_of(tmp_path, INPUT + conv("one", "data") + conv("two", "data", a="a: 0"))
    fillers = [p.convolution_param.weight_filler for p in written.layer[1:]]
    assert [f.type for f in fillers] == ["msra", "msra"]
    assert not any(f.HasField("a") for f in fillers)


def test_a_without_effect_goes(tmp_path):
    text = INPUT + layer("Scale", "data", "s", 'scale_param { filler { type: "constant" a: 3 } }')
    (_, scale) = stock_of(tmp_path, text).layer
    assert not scale.scale_param.filler.HasField("a")
    assert scale.scale_param.filler.type == "constant"


def test_both_fillers_of_a_layer(tmp_path):
    text = INPUT + conv("one", "data", a="a: 1").replace(
        "weight_filler", 'bias_filler { type: "msra" a: 2 variance_norm: FAN_OUT } weight_filler'
    )
    (_, one) = stock_of(tmp_path, text).layer
    assert one.convolution_param.bias_filler.std == pytest.approx((2 / (5 * 4)) ** 0.5)
    assert one.convolution_param.weight_filler.std == pytest.approx((2 / (2 * 27)) ** 0.5)


def test_one_filler_for_blobs_of_several_stds(tmp_path):
    text = (
        'input: "x" input_shape { dim: 4 dim: 2 dim: 3 } input: "c" input_shape { dim: 4 dim: 2 }'
        + layer(
            "LSTM", "x c", "h", 'recurrent_param { num_output: 5 weight_filler { type: "msra" } }'
        )
    )
    assert stock_of(tmp_path, text).layer[-1].recurrent_param.weight_filler.type == "msra"
    with pytest.raises(
        UnsupportedError,
        match=r"layer 'lstm' \(LSTM\): its one weight_filler "
        r"serves several .*W_xc gaussian 0.57735, W_hc gaussian 0.44",
    ):
        write(tmp_path, text, slopes="auto")
    lstm = stock_of(tmp_path, text.replace("dim: 3", "dim: 5"), slopes="auto").layer[-1]
    assert lstm.recurrent_param.weight_filler.type == "gaussian"  # equal stds can be written


def test_fix_decay(tmp_path):
    text = (
        INPUT
        + layer("PReLU", "data", "x", "", "p1")
        + layer("PReLU", "x", "y", 'param { name: "s" lr_mult: 2 decay_mult: 1 }', "p2")
        + layer("PReLU", "y", "z", "include { phase: TRAIN }", "p3")
    )
    assert not stock_of(tmp_path, text).layer[1].param
    first, second, third = stock_of(tmp_path, text, fix_decay=True).layer[1:]
    for proto in (first, second, third):
        assert proto.param[0].HasField("decay_mult")
        assert proto.param[0].decay_mult == 0
    assert (second.param[0].name, second.param[0].lr_mult) == ("s", 2)
    assert not first.param[0].HasField("lr_mult")


def test_a_legacy_net(tmp_path):
    """V1 comes out in today's form, as Caffe upgrades it."""
    text = """
    input: "data" input_dim: 1 input_dim: 3 input_dim: 6 input_dim: 7
    layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 blobs_lr: 2
      convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "msra" a: 0.5 } } }
    layers { name: "r" type: RELU bottom: "c" top: "c" }
    """
    written = stock_of(tmp_path, text)
    assert [p.type for p in written.layer] == ["Input", "Convolution", "ReLU"]
    assert [p.lr_mult for p in written.layer[1].param] == [1, 2]
    assert written.layer[1].convolution_param.weight_filler.type == "gaussian"


def test_unknown_fields_are_not_lost_silently(tmp_path):
    text = INPUT + conv("one", "data", more="include { phase: TRAIN } strange: 3")
    path = tmp_path / "net.prototxt"
    path.write_text(text + layer("ReLU", "data", "x"))
    graph = pipeline.read(path)
    with pytest.raises(ParseError, match=r"strange.*stock.prototxt is not written"):
        save_stock(path, graph, tmp_path / "stock.prototxt")
    assert not (tmp_path / "stock.prototxt").exists()
    assert reader.read_net(path)[1]
