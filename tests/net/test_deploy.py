"""Training nets in their deploy form."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat import pipeline
from caffe_compat.errors import ShapeError, UnsupportedError

DATA = """
layer { name: "d" type: "Data" top: "data" top: "label" include { phase: %s }
  transform_param { crop_size: 20 mean_value: 1 mean_value: 2 mean_value: 3 }
  data_param { batch_size: 64 } }
"""
TRAIN, TEST = DATA % "TRAIN", DATA % "TEST"


def fc(name, bottom, outputs=4):
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" '
        f'inner_product_param {{ num_output: {outputs} weight_filler {{ type: "xavier" }} }} }}\n'
    )


def end(kind, *bottoms, name="", more=""):
    words = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    name = name or kind.lower()
    return f'layer {{ name: "{name}" type: "{kind}" {words} top: "{name}" {more} }}\n'


@pytest.fixture
def deployed(tmp_path):
    def read(text, **options):
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        graph = pipeline.read(path, deploy=True, **options)
        return {node.layer.name: node.layer.proto for node in graph.nodes}, graph

    return read


def ends(graph):
    return {value.blob: value.dims for value in graph.inputs}, [v.blob for v in graph.outputs]


@pytest.mark.parametrize("data", [TEST, TRAIN, TRAIN + TEST])
def test_softmax_for_its_loss(deployed, data):
    text = data + fc("fc", "data") + end("Accuracy", "fc", "label")
    layers, graph = deployed(text + end("SoftmaxWithLoss", "fc", "label"))
    assert list(layers) == ["data", "fc", "prob"]
    assert ends(graph) == ({"data": (None, 3, 20, 20)}, ["prob"])
    assert graph.inputs[0].shape == (1, 3, 20, 20)
    assert list(layers["data"].transform_param.mean_value) == [1, 2, 3]
    assert layers["prob"].type == "Softmax"


def test_the_callers_sizes_and_batch(deployed):
    text = TEST + fc("fc", "data") + end("SoftmaxWithLoss", "fc", "label")
    assert ends(deployed(text, batch=5)[1])[0] == {"data": (5, 3, 20, 20)}
    shape = (2, 3, 7, 8)
    assert ends(deployed(text, inputs={"data": shape})[1])[0] == {"data": shape}


def test_a_batch_that_a_reshape_fixes(deployed, caplog):
    fixed = end("Reshape", "fc", more="reshape_param { shape { dim: 2 dim: 2 } }")
    with caplog.at_level("INFO", "caffe_compat"):
        _, graph = deployed(TEST + fc("fc", "data") + fixed)
    assert ends(graph)[0] == {"data": (1, 3, 20, 20)}
    assert "the batch is fixed: axis 0 of the input cannot vary" in caplog.text


def test_the_axis_of_the_softmax(deployed):
    more = "softmax_param { axis: 0 }"
    layers, _ = deployed(
        TEST + fc("fc", "data") + end("SoftmaxWithLoss", "fc", "label", more=more), batch=2
    )
    assert layers["prob"].softmax_param.axis == 0


def test_what_the_net_has_already(deployed):
    text = TEST + fc("fc", "data") + end("Softmax", "fc", name="prob")
    layers, _ = deployed(text + end("SoftmaxWithLoss", "fc", "label"))
    assert list(layers) == ["data", "fc", "prob"]
    text = TEST + fc("prob", "data") + fc("fc", "prob") + end("SoftmaxWithLoss", "fc", "label")
    assert ends(deployed(text)[1])[1] == ["fc_prob"]


def test_several_heads(deployed):
    text = TEST + fc("a", "data") + fc("b", "data") + fc("c", "data", 3)
    text += end("SoftmaxWithLoss", "a", "label", name="l1")
    text += end("SoftmaxWithLoss", "b", "label", name="l2")
    text += end("SigmoidCrossEntropyLoss", "c", "label")
    _, graph = deployed(text)
    assert ends(graph)[1] == ["a_prob", "b_prob", "c_prob"]


def test_auxiliary_heads_fall_away(deployed):
    text = TEST + fc("a", "data") + fc("aux", "a") + fc("b", "a")
    text += end("SoftmaxWithLoss", "aux", "label", name="l1", more="loss_weight: 0.3")
    text += end("Accuracy", "aux", "label", name="top1")
    text += end("SoftmaxWithLoss", "b", "label", name="l2")
    layers, graph = deployed(text)
    assert list(layers) == ["data", "a", "b", "prob"]
    assert ends(graph)[1] == ["prob"]


def test_losses_without_a_prediction_leave_what_they_compare(deployed):
    text = TEST + end("Flatten", "data") + fc("code", "data") + fc("decoded", "code", 1200)
    text += end("EuclideanLoss", "decoded", "flatten") + end("NovelLoss", "decoded", "flatten")
    layers, graph = deployed(text)
    assert list(layers) == ["data", "code", "decoded"]
    assert ends(graph)[1] == ["decoded"]


def test_layers_of_python_and_of_forks_by_their_names(deployed):
    python = 'python_param { module: "m" layer: "%s" }'
    text = f'layer {{ name: "d" type: "Python" top: "data" top: "label" {python % "Data"} }}\n'
    text += fc("fc", "data") + end("Python", "fc", "label", name="l", more=python % "FocalLoss")
    text += end("SegAccuracy", "fc", "label") + end("Silence", "label", name="s").replace(
        'top: "s"', ""
    )
    layers, _ = deployed(text, inputs={"data": (2, 3, 4, 5)})
    assert list(layers) == ["data", "fc"]
    with pytest.raises(ShapeError, match=r"inputs=\{'data': \(1, 3, 224, 224\)\}$"):
        deployed(text)


def test_proposals_in_place_of_sampled_ones(deployed):
    text = TEST + fc("rois", "data", 5)
    text += 'layer { name: "t" type: "ProposalTarget" bottom: "rois" bottom: "label" top: "some" '
    text += 'top: "labels" }\n' + fc("fc", "some") + end("SoftmaxWithLoss", "fc", "labels")
    layers, _ = deployed(text)
    assert list(layers) == ["data", "rois", "fc", "prob"]
    assert layers["fc"].bottom == ["rois"]


def test_routed_proposals_go_without_their_labels(deployed):
    """ScaleRoute has a top for each bottom; what is sampled beside the proposals falls away."""
    text = TEST + fc("rois", "data", 5)
    text += 'layer { name: "t" type: "ProposalTarget" bottom: "rois" bottom: "label" top: "some" '
    text += 'top: "labels" }\nlayer { name: "r" type: "ScaleRoute" bottom: "some" bottom: "labels" '
    text += 'top: "far" top: "far_labels" propagate_down: false propagate_down: false }\n'
    text += fc("fc", "far") + end("SoftmaxWithLoss", "fc", "far_labels")
    layers, _ = deployed(text)
    assert list(layers) == ["data", "rois", "r", "fc", "prob"]
    assert (layers["r"].bottom, layers["r"].top) == (["rois"], ["far"])
    assert len(layers["r"].propagate_down) == 1


def test_nothing_to_deploy(deployed):
    with pytest.raises(ShapeError, match="deploy=True leaves nothing"):
        deployed(TEST + end("Flatten", "data"))


def test_an_unknown_layer_that_is_needed_is_refused(deployed):
    text = TEST + fc("a", "data") + end("Novel", "a", name="n") + fc("b", "n")
    with pytest.raises(UnsupportedError, match=r"layer 'n' \(Novel\): unknown layer type"):
        deployed(text + end("SoftmaxWithLoss", "b", "label"))


def test_the_deploy_form_computes_what_the_training_net_does(tmp_path):
    path, file = tmp_path / "net.prototxt", tmp_path / "w.caffemodel"
    path.write_text(TEST + fc("fc", "data") + end("SoftmaxWithLoss", "fc", "label"))
    net = pipeline.load(path, seed=3, batch=2)
    pipeline.save(net, file)
    x = np.random.default_rng(1).standard_normal((2, 3, 20, 20), np.float32)
    labels = np.array([3, 0], np.float32)
    loss = net.run({"data": x, "label": labels})["softmaxwithloss"]
    prob = pipeline.load(path, file, batch=2, deploy=True).run({"data": x})["prob"]
    assert prob.shape == (2, 4)
    np.testing.assert_allclose(loss, -np.log(prob[[0, 1], [3, 0]]).mean(), rtol=1e-5)


MARGIN = (
    'largemargin_inner_product_param { num_output: 4 type: %s weight_filler { type: "xavier" } }'
)


@pytest.mark.parametrize(
    ("kind", "param"),
    [
        ("LargeMarginInnerProduct", MARGIN % "DOUBLE"),
        ("MarginInnerProduct", "margin_inner_product_param { num_output: 4 }"),
        ("CosinL2Normalize", "cosin_loss_param { num_output: 4 }"),
    ],
)
def test_scores_with_a_margin(deployed, kind, param):
    """They need labels: what they read is what the net is for."""
    more = f'top: "lambda" {param}' if "Margin" in kind else param
    text = TRAIN + fc("fc", "data") + end(kind, "fc", "label", name="m", more=more)
    layers, graph = deployed(text + end("SoftmaxWithLoss", "m", "label"))
    assert list(layers) == ["data", "fc"]
    assert ends(graph) == ({"data": (None, 3, 20, 20)}, ["fc"])


def test_a_margin_of_none(deployed):
    """SINGLE, as in TEST in its authors' nets, is InnerProduct."""
    more = 'top: "lambda" ' + MARGIN % "SINGLE"
    text = (
        TEST + fc("fc", "data") + end("LargeMarginInnerProduct", "fc", "label", name="m", more=more)
    )
    text += end("Accuracy", "m", "label") + end("SoftmaxWithLoss", "m", "label")
    layers, graph = deployed(text)
    assert list(layers) == ["data", "fc", "m", "prob"]
    assert ends(graph) == ({"data": (None, 3, 20, 20)}, ["prob"])
    assert layers["m"].type == "InnerProduct" and not layers["m"].inner_product_param.bias_term
    assert [blob.shape for blob in graph.nodes[-2].blobs] == [(4, 4)]


def test_triplets_fall_away(deployed):
    text = TRAIN + fc("fc", "data") + end("SampleTriplet", "fc", "label", name="s")
    layers, graph = deployed(text + end("TripletLoss", "fc", "s"))
    assert list(layers) == ["data", "fc"]
    assert ends(graph)[1] == ["fc"]


def test_a_decoder_that_is_an_accuracy(deployed):
    """Without its labels it decodes."""
    text = TEST + end(
        "Reshape", "data", name="steps", more="reshape_param { shape { dim: 20 dim: 3 dim: -1 } }"
    )
    text += (
        'layer { name: "fc" type: "InnerProduct" bottom: "steps" top: "fc" inner_product_param { '
        'num_output: 4 axis: 2 weight_filler { type: "xavier" } } }'
    )
    text += end("CTCGreedyDecoder", "fc", "label", name="acc")
    layers, graph = deployed(text + end("WarpCTCLoss", "fc", "label"), batch=1)
    assert list(layers["acc"].bottom) == ["fc"]
    assert ends(graph) == ({"data": (1, 3, 20, 20)}, ["acc"])
    assert graph.outputs[0].shape == (3, 20, 1, 1)


def test_predictions_that_labels_mask(deployed):
    """DetectNet's boxes are compared where the labels have objects alone."""
    product = "eltwise_param { operation: PROD }"
    masks = end("Power", "label", name="mask") + end("Eltwise", "fc", "mask", more=product)
    loss = end("Power", "eltwise") + end("EuclideanLoss", "power", "mask")
    layers, graph = deployed(TEST + fc("fc", "data") + masks + loss)
    assert list(layers) == ["data", "fc"]
    assert ends(graph) == ({"data": (None, 3, 20, 20)}, ["fc"])


def test_what_is_added_to_a_prediction_is_no_mask(deployed):
    other = TEST.replace('"data" top: "label"', '"other"').replace('"d"', '"o"')
    total = end("Eltwise", "c", "other") + end("EuclideanLoss", "eltwise", "label")
    conv = "convolution_param { num_output: 3 kernel_size: 1 }"
    text = TEST + other + end("Convolution", "data", name="c", more=conv) + total
    assert ends(deployed(text)[1])[1] == ["eltwise"]
