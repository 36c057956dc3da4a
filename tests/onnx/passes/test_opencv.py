"""What is written for OpenCV 5: rewritten as measured, and read by OpenCV itself where it is."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import onnx
import pytest

from caffe_compat import UnsupportedError, load
from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.passes import targets
from caffe_compat.onnx.passes.opencv import fit

from ...cases import GOLDEN, assert_close, feed, inline, make, run_onnx
from ...cases import load as load_case

# The golden cases that OpenCV 5.0.0.93 cannot have, by the name that the conversion gives.
REFUSED = {
    "filter": "has no Compress",
    "lstm": "has no Scan",
    "rnn": "has no Scan",
    "detection_corner": "suppresses boxes without area",
}
CASES = sorted(
    f"{folder}/{path.name}"
    for folder in ("layers", "layers_ssd")
    for path in (GOLDEN / folder).iterdir()
)
MTCNN = GOLDEN.parents[1] / "examples" / "mtcnn" / "models"
MODELS = {
    path.name: path
    for folder in (GOLDEN / "models", MTCNN)
    for path in sorted(folder.iterdir())
    if (path / "net.prototxt").exists()
}


def refusal(case):
    return next((why for name, why in REFUSED.items() if f"/{name}_" in case), None)


def fitted(net):
    return inline(fit(lower(net), net))


def run_opencv(cv2, model, feeds):
    """The outputs of OpenCV's importer, by name."""
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))
    for value in model.graph.input:
        net.setInput(feeds[value.name], value.name)
    names = [value.name for value in model.graph.output]
    return dict(zip(names, net.forward(names), strict=True))


@pytest.fixture(scope="module")
def opencv5():
    cv2 = pytest.importorskip("cv2")
    if int(cv2.__version__.partition(".")[0]) < 5:
        pytest.skip(f"could not import OpenCV 5: {cv2.__version__} is installed")
    return cv2


def feeds_of(case):
    net, io = load_case(GOLDEN / case)
    feeds = {key[3:]: array for key, array in io.items() if key.startswith("in:")}
    if "priorbox" in case:
        feeds = {v.blob: np.zeros(v.shape, np.float32) for v in net.graph.inputs}
    return net, feeds


@pytest.mark.parametrize("case", CASES)
def test_what_is_written_for_opencv_computes_the_same_or_is_refused(case):
    net, feeds = feeds_of(case)
    if refusal(case):
        why = rf"layer '\w+' \(\w+\): OpenCV 5 {refusal(case)}"
        with pytest.raises(UnsupportedError, match=why):
            fitted(net)
        return
    model = fitted(net)
    wanted = run_onnx(net, feeds)
    session = __import__("onnxruntime").InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    used = {value.name for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    made = session.run(names, {name: array for name, array in feeds.items() if name in used})
    for name, array in zip(names, made, strict=True):
        assert_close(array, wanted[name], 1e-5, name)


@pytest.mark.parametrize("case", [case for case in CASES if not refusal(case)])
def test_opencv_agrees_on_layers(case, opencv5):
    net, feeds = feeds_of(case)
    wanted = run_onnx(net, feeds)
    for name, array in run_opencv(opencv5, fitted(net), feeds).items():
        assert_close(array, wanted[name], 1e-5, name)


@pytest.mark.parametrize("name", MODELS)
def test_opencv_agrees_on_models(name, opencv5):
    folder = MODELS[name]
    (weights,) = folder.glob("weights.*")
    net = load(folder / "net.prototxt", weights)
    feeds = feed(net)
    wanted = run_onnx(net, feeds)
    for output, array in run_opencv(opencv5, fitted(net), feeds).items():
        assert_close(array, wanted[output], 1e-5, output)


DETECTING = [
    *(GOLDEN / "reports").glob("37_*"),
    *(GOLDEN / "models").glob("hyperlpr_ssd"),
    *(GOLDEN / "layers_ssd").glob("detection_center*"),
]
RUN = """
import sys, cv2, numpy as np
net = cv2.dnn.readNetFromONNX(sys.argv[1])
for name, array in np.load(sys.argv[2]).items():
    net.setInput(array, name)
np.save(sys.argv[3], net.forward())
"""


@pytest.mark.parametrize("folder", DETECTING, ids=lambda folder: folder.name)
def test_opencv_lives_where_nothing_is_detected(folder, tmp_path, opencv5):
    text = (folder / "net.prototxt").read_text()
    net = make(re.sub(r"confidence_threshold: [.\d]+", "confidence_threshold: 1", text))
    model, feeds = fitted(net), {k: array * 0.01 for k, array in feed(net).items()}
    onnx.save(model, tmp_path / "n.onnx")
    np.savez(tmp_path / "feeds.npz", **feeds)
    names = [tmp_path / name for name in ("n.onnx", "feeds.npz", "out.npy")]
    subprocess.run([sys.executable, "-c", RUN, *map(str, names)], check=True)
    (want,) = run_onnx(net, feeds).values()
    assert (want[0, 0, :, 1:] == -1).all()
    np.testing.assert_array_equal(np.load(names[2]), want)


def test_padded_1x1_convolutions_are_padded_apart():
    text = """
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 5 dim: 4 } } }
        layer { name: "y" type: "Convolution" bottom: "x" top: "y" convolution_param {
          num_output: 6 kernel_size: 1 pad_h: 1 pad_w: 2 %s weight_filler { type: "msra" } } }
    """  # noqa: E501
    net = make(text % "")
    assert [node.op_type for node in fitted(net).graph.node] == ["Pad", "Conv"]
    assert_close(run(fitted(net), feed(net)), run(inline(lower(net)), feed(net)), 1e-6)
    strided = make(text % "stride: 2")
    assert fitted(strided).graph.node == inline(lower(strided)).graph.node


def run(model, feeds):
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)[0]


@pytest.mark.parametrize("operation", ["SUM", "ASUM", "SUMSQ", "MEAN"])
def test_reductions_go_two_axes_at_a_time(operation):
    net = make(f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 3 dim: 5 dim: 4 }} }} }}
        layer {{ name: "y" type: "Reduction" bottom: "x" top: "y"
          reduction_param {{ operation: {operation} axis: 1 }} }}
    """)  # noqa: E501
    model = fitted(net)
    assert [node.op_type for node in model.graph.node if node.op_type.startswith("Reduce")]
    assert "Squeeze" in {node.op_type for node in model.graph.node}
    assert_close(run(model, feed(net)), run(inline(lower(net)), feed(net)), 1e-6)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (
            'type: "InnerProduct" inner_product_param { num_output: 4 axis: 0 }',
            "multiplies no vectors",
        ),
        (
            'type: "ROIPooling" bottom: "r" roi_pooling_param { pooled_h: 2 pooled_w: 3 }',
            "has no MaxRoiPool",
        ),
    ],
)
def test_refusals(layer, why):
    shapes = {"x": (5,)} if "Inner" in layer else {"x": (2, 3, 9, 8), "r": (4, 5)}
    text = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        + " ".join(f"dim: {n}" for n in shape)
        + " } } }"
        for name, shape in shapes.items()
    )
    net = make(text + f'layer {{ name: "y" bottom: "x" top: "y" {layer} }}')
    with pytest.raises(UnsupportedError, match=rf"layer 'y' \(\w+\): OpenCV 5 {why}"):
        fitted(net)


def test_resizes_name_every_size():
    net = make("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 5 dim: 7 } } }
        layer { name: "y" type: "Interp" bottom: "x" top: "y" interp_param { height: 9 width: 4 } }
    """)  # noqa: E501
    model = fitted(net)
    (node,) = model.graph.node
    assert "axes" not in {attribute.name for attribute in node.attribute}
    assert_close(run(model, feed(net)), run(inline(lower(net)), feed(net)), 1e-6)


def test_onnxruntimes_model_is_as_it_was():
    net = make("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "y" type: "ReLU" bottom: "x" top: "y" }
    """)
    lowered = lower(net)
    assert targets.fit(lowered, net, "onnxruntime") is lowered
    assert isinstance(targets.fit(lowered, net, "opencv").model, onnx.ModelProto)
    with pytest.raises(
        UnsupportedError, match="target is 'torch'; it is one of onnxruntime, opencv"
    ):
        targets.fit(lowered, net, "torch")
