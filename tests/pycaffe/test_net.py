"""caffe.Net: how it is built, what it shows, and how it runs."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import caffe_compat.pycaffe as caffe
from caffe_compat.errors import ParseError, ShapeError, UnsupportedError, WeightsError

from .nets import SIMPLE

SPLITS = """
input: 'd' input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 4
layer { name: 'zz' type: 'TanH' bottom: 'd' top: 'zz' }
layer { name: 'B' type: 'ReLU' bottom: 'd' top: 'B' }
layer { name: 'a' type: 'AbsVal' bottom: 'd' top: 'a' }
layer { name: 'q' type: 'Input' top: 'q' input_param { shape { dim: 1 } } }
"""

SHARED = """
force_backward: true
layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 2 dim: 4 } } }
layer { name: 'a' type: 'InnerProduct' bottom: 'data' top: 'a' param { name: 'w' }
  inner_product_param { num_output: 4 bias_term: false weight_filler { type: 'xavier' } } }
layer { name: 'b' type: 'InnerProduct' bottom: 'a' top: 'b' param { name: 'w' }
  inner_product_param { num_output: 4 bias_term: false weight_filler { type: 'xavier' } } }
"""

LOSS = """
layer { name: 'data' type: 'Input' top: 'x' top: 'label'
  input_param { shape { dim: 2 dim: 3 } shape { dim: 2 } } }
layer { name: 'ip' type: 'InnerProduct' bottom: 'x' top: 'ip' %s
  inner_product_param { num_output: 3 weight_filler { type: 'xavier' } } }
layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'ip' bottom: 'label' loss_weight: 2 %s }
"""


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


# -- building --------------------------------------------------------------------------------


def test_all_forms_of_the_constructor(build, tmp_path):
    net = build(SIMPLE)
    path, weights = str(tmp_path / "net.prototxt"), str(tmp_path / "w.caffemodel")
    net.save(weights)
    for other in (
        caffe.Net(path, caffe.TEST, weights=weights),
        caffe.Net(path, weights, caffe.TEST),
        caffe.Net(network_file=path, phase=1, level=0, stages=[], weights=weights),
        caffe.Net(tmp_path / "net.prototxt", caffe.TRAIN, 0, None, weights),
    ):
        assert np.array_equal(other.params["ip"][0].data, net.params["ip"][0].data)


@pytest.mark.parametrize(
    ("args", "options"),
    [
        (("net.prototxt",), {}),
        (("net.prototxt", "w.caffemodel"), {}),
        (("net.prototxt", "TEST"), {}),
        (("net.prototxt", 1), {"wights": "w.caffemodel"}),
        (("net.prototxt", 1), {"phase": 1}),
        ((), {"phase": 1}),
    ],
)
def test_wrong_arguments_say_what_is_right(args, options):
    with pytest.raises(TypeError, match=r"network_file, phase, level=0"):
        caffe.Net(*args, **options)


def test_a_missing_file_is_a_runtime_error(build, tmp_path):
    with pytest.raises(RuntimeError, match=r"Could not open file missing\.prototxt"):
        caffe.Net("missing.prototxt", caffe.TEST)
    build(SIMPLE)
    with pytest.raises(RuntimeError, match="Could not open file gone"):
        caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST, weights="gone")


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("layer { name: 'x' type: 'Foo' top: 'x' }", UnsupportedError, "'x' (Foo): unknown"),
        ("layer { foo: 1 type: 'Input' top: 'x' }", ParseError, "has no field 'foo'"),
        ("layer { name: 'x' type: 'TanH' bottom: 'zz' top: 'x' }", ParseError, "Unknown bottom"),
        (
            SIMPLE + "layer { name: 'x' type: 'TanH' bottom: 'prob' top: 'ip' }",
            ShapeError,
            "Top blob 'ip' produced by multiple sources",
        ),
        (
            SIMPLE + "layer { name: 'x' type: 'ReLU' bottom: 'prob' top: 'x' param { } }",
            ShapeError,
            "too many params",
        ),
    ],
)
def test_what_caffe_aborts_at_is_an_error_that_names_the_layer(build, text, error, words):
    with pytest.raises(error) as caught:
        build(text)
    assert words in str(caught.value)
    assert str(caught.value).count("layer '") <= 1


@pytest.mark.parametrize(
    ("kind", "bottoms"),
    [
        ("SoftmaxWithLoss", ["ip", "one"]),
        ("SigmoidCrossEntropyLoss", ["one", "one"]),
        ("HingeLoss", ["ip", "one"]),
        ("MultinomialLogisticLoss", ["ip", "one"]),
        ("Filter", ["ip", "one"]),
        ("BatchReindex", ["ip", "index"]),
        ("Accuracy", ["ip", "one"]),
    ],
)
def test_a_gradient_at_labels_or_indices_is_refused_as_in_caffe(build, kind, bottoms):
    end = " ".join(f"bottom: '{bottom}'" for bottom in bottoms)
    net = build(
        SIMPLE
        + f"""
        layer {{ name: 'one' type: 'InnerProduct' bottom: 'data' top: 'one'
          inner_product_param {{ num_output: 1 }} }}
        layer {{ name: 'index' type: 'Flatten' bottom: 'one' top: 'index'
          flatten_param {{ axis: 0 }} }}
        layer {{ name: 'end' type: '{kind}' {end} top: 'end' loss_weight: 1 }}"""
    )
    net.forward()
    with pytest.raises(ShapeError, match=rf"layer 'end' \({kind}\): cannot backpropagate to bot"):
        net.backward()


def test_a_layer_that_never_runs_in_place_is_refused_in_place(build):
    with pytest.raises(ShapeError, match="cannot run in place"):
        build(SIMPLE + "layer { name: 'x' type: 'AbsVal' bottom: 'prob' top: 'prob' }")


def test_a_vector_of_varying_length_has_the_bottoms_until_it_is_computed(build):
    net = build("""
        layer { name: 'data' type: 'Input' top: 'x' top: 'chosen' input_param { shape { dim: 3 } } }
        layer { name: 'f' type: 'Filter' bottom: 'x' bottom: 'chosen' top: 'y' loss_weight: 2 }""")
    assert np.array_equal(net.blobs["y"].diff, [2, 2, 2])
    net.blobs["chosen"].data[...] = [1, 0, 1]
    net.forward()
    assert np.array_equal(net.blobs["y"].diff, [2, 2])


def test_levels_and_stages_choose_layers(build):
    text = (
        SIMPLE + "layer { name: 's' type: 'TanH' bottom: 'prob' top: 's' include { stage: 'S' } }"
    )
    text += "layer { name: 'l' type: 'TanH' bottom: 'prob' top: 'l' include { min_level: 2 } }"
    assert build(text).outputs == ["prob"]
    assert build(text, stages=["S"]).outputs == ["s"]
    assert build(text, level=2).outputs == ["l"]


def test_a_seed_gives_real_caffes_weights(build):
    text = """
    layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 dim: 1 } } }
    layer { name: 'ip' type: 'InnerProduct' bottom: 'data' top: 'ip' inner_product_param {
      num_output: 3 weight_filler { type: 'gaussian' std: 0.01 } } }"""
    caffe.set_random_seed(1701)
    net = build(text)
    want = np.float32([-0.00109265919, -0.0167194009, -0.00204776227])  # caffe, Boost 1.74
    assert np.array_equal(net.params["ip"][0].data.ravel(), want)


def test_sample_weights_test_draws_from_caffes_stream_in_test_too(build):
    """As Bayesian SegNet's Caffe does: another mask in every pass, and the seed's first again."""
    net = build(
        "force_backward: true input: 'x' input_shape { dim: 2 dim: 50 } layer { name: 'd' "
        "type: 'Dropout' bottom: 'x' top: 'y' dropout_param { sample_weights_test: true } }"
    )

    def run():
        net.blobs["x"].data[...] = 1
        return net.forward()["y"].copy()

    caffe.set_random_seed(5)
    first, second = run(), run()
    caffe.set_random_seed(5)
    assert np.array_equal(run(), first)
    assert not np.array_equal(first, second)
    assert set(first.ravel()) == {0, 2}
    net.blobs["y"].diff[...] = 3
    net.backward()
    assert np.array_equal(net.blobs["x"].diff, 3 * net.blobs["y"].data)


# -- showing ---------------------------------------------------------------------------------


def test_names_with_splits_as_caffe_shows_them(build):
    net = build(SPLITS)
    assert net.outputs == ["B", "a", "q", "zz"]
    assert net.inputs == ["d", "q"]
    splits = [f"d_input_0_split_{i}" for i in range(3)]
    assert list(net.blobs) == ["d", *splits, "zz", "B", "a", "q"]
    assert list(net._layer_names) == ["input", "d_input_0_split", "zz", "B", "a", "q"]
    assert net.bottom_names["zz"] == splits[:1]
    assert net.top_names["d_input_0_split"] == splits
    assert list(net._inputs) == [0, 7]
    assert list(net._outputs) == [5, 6, 7, 4]
    assert list(net._bottom_ids(2)) == [1]
    assert list(net._top_ids(1)) == [1, 2, 3]
    assert [layer.type for layer in net.layers] == [
        "Input",
        "Split",
        "TanH",
        "ReLU",
        "AbsVal",
        "Input",
    ]
    assert net.layer_dict["zz"] is net.layers[2]


def test_dicts_have_python_2s_methods(build):
    net = build(SIMPLE)
    assert [name for name, _ in net.params.iteritems()] == ["conv", "ip"]
    assert net.blobs.has_key("prob")
    assert not net.blobs.has_key("relu")
    assert list(net.params.iterkeys()) == list(net.params)
    assert [len(blobs) for blobs in net.params.itervalues()] == [2, 2]


def test_a_loss_without_a_top_and_its_weight(build):
    net = build(LOSS % ("", ""))
    assert net._blob_names[-1] == "(automatic)"
    assert net.blob_loss_weights["(automatic)"] == 2
    assert net._blobs[-1].diff == 2
    assert net.outputs == []


def test_params_index_from_the_end_and_slice(build):
    blobs = build(SIMPLE).params["ip"]
    assert blobs[-1].data.shape == (3,)
    assert type(blobs[:1]) is type(blobs)
    with pytest.raises(IndexError, match="Index out of range"):
        blobs[2]


def test_arrays_outlive_the_net(build):
    net = build(SIMPLE)
    net.forward()
    data = net.blobs["prob"].data
    want = data.copy()
    del net
    assert np.array_equal(data, want)


def test_a_net_is_neither_copied_nor_pickled(build):
    net = build(SIMPLE)
    with pytest.raises(RuntimeError, match="copied or pickled"):
        copy.deepcopy(net)
    with pytest.raises(RuntimeError, match="copied or pickled"):
        pickle.dumps(net)


# -- running ---------------------------------------------------------------------------------


def test_forward_returns_the_outputs_own_memory(build):
    net = build(SIMPLE)
    first = net.forward()["prob"]
    before = first.copy()
    net.blobs["data"].data[...] *= 2
    second = net.forward()["prob"]
    assert np.shares_memory(first, second)
    assert not np.array_equal(first, before)


def test_what_is_written_into_arrays_is_what_is_computed_with(build):
    net = build(SIMPLE)
    net.forward()
    net.params["ip"][0].data[...] = 0
    net.params["ip"][1].data[...] = [0, 1, 2]
    want = softmax(np.float32([[0, 1, 2]]))
    assert np.allclose(net.forward()["prob"], want.repeat(2, 0), atol=1e-6)
    weight = net.params["conv"][0].data
    weight *= 0
    net.params["conv"][1].data[...] = -1  # which the rectifier cuts off
    net.forward()
    assert not net.blobs["conv"].data.any()


def test_part_of_a_net(build):
    net = build(SIMPLE)
    net.forward()
    conv = net.blobs["conv"].data
    conv[...] = 1
    outputs = net.forward(start="ip", end="ip", blobs=["conv"])
    assert set(outputs) == {"ip", "conv"}
    want = net.params["ip"][0].data.sum(1) + net.params["ip"][1].data
    assert np.allclose(outputs["ip"], want, atol=1e-5)
    assert (net.blobs["conv"].data == 1).all()
    with pytest.raises(ValueError, match="'zz' is not in list"):
        net.forward(start="zz")
    with pytest.raises(KeyError):
        net.forward(blobs=["zz"])


def test_inputs_by_keyword(build):
    net = build(SIMPLE)
    data = np.ones((2, 3, 6, 5))
    net.forward(data=data)
    assert (net.blobs["data"].data == 1).all()
    with pytest.raises(Exception, match="Input blob arguments do not match net inputs"):
        net.forward(dta=data)
    with pytest.raises(Exception, match="Input is not batch sized"):
        net.forward(data=data[:1])
    with pytest.raises(Exception, match="Top diff arguments do not match net outputs"):
        net.backward(ip=data)
    with pytest.raises(Exception, match="Diff is not batch sized"):
        net.backward(prob=data[:1])


def test_forward_all_pads_the_last_batch(build):
    net = build(SIMPLE)
    data = np.random.default_rng(1).standard_normal((5, 3, 6, 5)).astype(np.float32)
    outputs = net.forward_all(blobs=["ip"], data=data)
    assert outputs["prob"].shape == (5, 3)
    single = [net.forward(data=data[[i, i]])["prob"][0].copy() for i in range(5)]
    assert np.allclose(outputs["prob"], single, atol=1e-6)
    assert np.allclose(softmax(outputs["ip"]), outputs["prob"], atol=1e-6)


def test_forward_backward_all(build):
    net = build("force_backward: true" + SIMPLE)
    data = np.random.default_rng(1).standard_normal((3, 3, 6, 5)).astype(np.float32)
    outputs, diffs = net.forward_backward_all(diffs=["ip"], data=data, prob=np.ones((3, 3)))
    assert outputs["prob"].shape == (3, 3)
    assert diffs["data"].shape == data.shape
    assert np.allclose(diffs["ip"], 0, atol=1e-6)  # all outputs up alike: softmax stays


def test_a_reshape_goes_through_at_the_next_forward(build):
    net = build(
        SIMPLE.replace("type: 'InnerProduct'", "type: 'Convolution'").replace(
            "inner_product_param { num_output: 3",
            "convolution_param { kernel_size: 1 num_output: 3",
        )
    )
    small = net.blobs["data"].data
    net.blobs["data"].reshape(1, 3, 9, 8)
    assert net.blobs["conv"].data.shape == (2, 4, 4, 3)
    net.blobs["data"].data[...] = 1
    net.forward()
    assert net.blobs["prob"].data.shape == (1, 3, 7, 6)
    assert small.shape == (2, 3, 6, 5)
    net.blobs["data"].reshape(2, 3, 6, 5)
    net.reshape()
    assert net.blobs["prob"].data.shape == (2, 3, 4, 3)


def test_a_reshape_that_the_weights_do_not_fit_is_refused(build):
    net = build(SIMPLE)
    net.blobs["data"].reshape(2, 3, 7, 7)
    with pytest.raises(ShapeError, match=r"layer 'ip'.*Input size incompatible"):
        net.forward()


def test_backward_runs_what_a_loss_needs(build):
    net = build(LOSS % ("", "top: 'loss'"))
    net.blobs["label"].data[...] = [0, 2]
    net.forward()
    net.backward()
    p = softmax(net.blobs["ip"].data)
    p[[0, 1], [0, 2]] -= 1
    assert np.allclose(net.blobs["ip"].diff, p * 2 / 2, atol=1e-6)  # weight 2, batch 2
    assert not net.blobs["x"].diff.any()  # as in Caffe: nothing below wants it
    assert np.allclose(net.params["ip"][1].diff, p.sum(0), atol=1e-6)
    net.backward()
    assert np.allclose(net.params["ip"][1].diff, 2 * p.sum(0), atol=1e-6)
    net.clear_param_diffs()
    assert not net.params["ip"][1].diff.any()


def test_lr_mult_0_and_a_deploy_net_have_no_backward(build):
    net = build(LOSS % ("param { lr_mult: 0 } param { lr_mult: 0 }", "top: 'loss'"))
    net.forward()
    net.backward()
    assert not net.blobs["ip"].diff.any()
    net = build(SIMPLE)
    net.forward()
    net.blobs["prob"].diff[...] = 1
    net.backward()
    assert not net.blobs["data"].diff.any()
    assert not net.params["ip"][0].diff.any()


def test_shared_parameters_are_one_memory(build):
    net = build(SHARED)
    a, b = net.params["a"][0], net.params["b"][0]
    assert np.shares_memory(a.data, b.data)
    assert np.shares_memory(a.diff, b.diff)
    net.forward()
    net.blobs["b"].diff[...] = 1
    net.backward()
    x, w = net.blobs["data"].data, a.data
    dy = np.ones((2, 4), np.float32)
    assert np.allclose(a.diff, dy.T @ (x @ w.T) + (dy @ w).T @ x, atol=1e-5)


def test_callbacks_are_called_around_each_layer(build):
    net = build("force_backward: true" + SIMPLE)
    want = net.forward()["prob"].copy()
    calls = []
    net.before_forward(lambda i: calls.append(("before", i)))
    net.after_forward(lambda i: calls.append(("after", i)))
    assert np.allclose(net.forward()["prob"], want, atol=1e-6)
    assert calls == [(when, i) for i in range(5) for when in ("before", "after")]
    calls.clear()
    net.before_backward(lambda i: calls.append(("before", i)))
    net.after_backward(lambda i: calls.append(("after", i)))
    net.backward()
    assert calls == [(when, i) for i in (4, 3, 2, 1, 0) for when in ("before", "after")]


def test_a_callback_may_edit_between_layers(build):
    net = build(SIMPLE)

    def cut(i):
        if net._layer_names[i] == "relu":
            net.blobs["conv"].data[...] = 0

    net.after_forward(cut)
    net.params["ip"][1].data[...] = 0
    assert np.allclose(net.forward()["prob"], 1 / 3, atol=1e-6)


# -- weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["caffemodel", "h5"])
def test_weights_go_out_and_in(build, tmp_path, kind):
    net, path = build(SIMPLE), str(tmp_path / f"w.{kind}")
    (net.save if kind == "caffemodel" else net.save_hdf5)(path)
    other = build(SIMPLE)
    (other.copy_from if kind == "caffemodel" else other.load_hdf5)(path)
    for name, blobs in net.params.items():
        for blob, loaded in zip(blobs, other.params[name], strict=True):
            assert np.array_equal(blob.data, loaded.data)


def test_weights_that_do_not_fit_are_refused(build, tmp_path):
    path = str(tmp_path / "w.caffemodel")
    build(SIMPLE).save(path)
    other = build(SIMPLE.replace("num_output: 3", "num_output: 7"))
    with pytest.raises(WeightsError, match="Cannot copy param 0 weights from layer 'ip'"):
        other.copy_from(path)


def test_share_with_makes_one_memory(build):
    net, other = build(SIMPLE), build(SIMPLE)
    other.share_with(net)
    net.params["ip"][1].data[...] = 7
    assert (other.params["ip"][1].data == 7).all()
    other.blobs["data"].data[...] = net.blobs["data"].data
    assert np.allclose(other.forward()["prob"], net.forward()["prob"], atol=1e-6)
    with pytest.raises(WeightsError, match="Cannot share param 0 weights from layer 'ip'"):
        build(SIMPLE.replace("num_output: 3", "num_output: 7")).share_with(net)


# -- memory data -----------------------------------------------------------------------------

MEMORY = """
layer { name: 'd' type: 'MemoryData' top: 'data' top: 'label'
  memory_data_param { batch_size: 2 channels: 1 height: 2 width: 3 } }
layer { name: 'flat' type: 'Flatten' bottom: 'data' top: 'flat' }
layer { name: 'off' type: 'Silence' bottom: 'label' }
"""


def test_memory_data_goes_round(build):
    net = build(MEMORY)
    data = np.arange(24, dtype=np.float32).reshape(4, 1, 2, 3)
    net.set_input_arrays(data, np.arange(4, dtype=np.float32))
    for first in (0, 2, 0):
        assert np.array_equal(net.forward()["flat"], data[first : first + 2].reshape(2, 6))
        assert net.blobs["label"].data.ravel().tolist() == [first, first + 1]


@pytest.mark.parametrize(
    ("data", "labels", "words"),
    [
        (np.zeros((2, 1, 2, 3)), np.zeros(2), "data array must be float32"),
        (np.zeros((3, 1, 2, 3), "f"), np.zeros(3, "f"), "multiple of batch size"),
        (np.zeros((2, 2, 2, 3), "f"), np.zeros(2, "f"), "wrong number of channels"),
        (np.zeros((2, 1, 3, 3), "f"), np.zeros(2, "f"), "wrong height"),
        (np.zeros((2, 1, 2, 2), "f"), np.zeros(2, "f"), "wrong width"),
        (np.zeros((2, 1, 2, 3), "f"), np.zeros(4, "f"), "same first dimension"),
        (np.zeros((2, 1, 3, 2), "f").swapaxes(2, 3), np.zeros(2, "f"), "C contiguous"),
        (np.zeros((2, 6), "f"), np.zeros(2, "f"), "must be 4-d"),
    ],
)
def test_memory_data_takes_only_what_caffe_reads_in_place(build, data, labels, words):
    with pytest.raises(RuntimeError, match=words):
        build(MEMORY).set_input_arrays(data, labels)


def test_input_arrays_are_for_memory_data(build):
    with pytest.raises(RuntimeError, match="first layer is a MemoryDataLayer"):
        build(SIMPLE).set_input_arrays(np.zeros((2, 1, 2, 3), "f"), np.zeros(2, "f"))


def test_debug_info_logs_each_layer(tmp_path, capfd):
    path = tmp_path / "net.prototxt"
    path.write_text("debug_info: true\nforce_backward: true\n" + SIMPLE)
    net = caffe.Net(str(path), caffe.TRAIN)
    net.forward()
    net.backward()
    lines = [line.partition("] ")[2] for line in capfd.readouterr().err.splitlines()]
    first, last = net._layer_names[0], net._layer_names[-1]
    assert lines[0].startswith(f"    [Forward] Layer {first}, top blob ")
    conv = float(np.abs(net.blobs["conv"].data).mean(dtype=np.float64))
    assert f"    [Forward] Layer conv, top blob conv data: {conv:g}" in lines
    weight = float(np.abs(net.params["conv"][0].diff).mean(dtype=np.float64))
    assert f"    [Backward] Layer conv, param blob 0 diff: {weight:g}" in lines
    back = [line for line in lines if "[Backward]" in line]
    assert back[0].startswith(f"    [Backward] Layer {last}, bottom blob ")
