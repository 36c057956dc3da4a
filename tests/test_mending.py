"""What would mend a refusal: the obstacles together, and arguments that are known to work."""

from __future__ import annotations

import pytest

from caffe_compat import packed, pipeline
from caffe_compat.errors import CaffeCompatError, ParseError, ShapeError, UnsupportedError
from caffe_compat.mending import apply
from caffe_compat.options import Reading

FC = (
    'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" '
    "inner_product_param { num_output: 4 } }\n"
)
INPUT = (
    'layer { name: "data" type: "Input" top: "data" '
    "input_param { shape { dim: 2 dim: 3 dim: 8 dim: 9 } } }\n"
)


@pytest.fixture
def refused(tmp_path):
    def read(text, kind=CaffeCompatError, **options):
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        with pytest.raises(kind) as error:
            pipeline.read(path, **options)
        changes = error.value.changes
        if changes:  # what is proposed works
            assert len(changes) == 1
            packed.read_graph(path, None, apply(Reading(**options), changes[0]))
        return str(error.value), changes[0] if changes else None

    return read


def layer(kind, *bottoms, more=""):
    words = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    return (
        f'layer {{ name: "{kind.lower()}" type: "{kind}" {words} top: "{kind.lower()}" {more} }}\n'
    )


def test_an_unknown_end(refused):
    message, changes = refused(INPUT + FC + layer("Novel", "fc"), UnsupportedError)
    assert changes == {"leave_out": ("Novel",)}
    assert message.endswith(
        "layer 'novel' (Novel): unknown layer type; it is read with leave_out=('Novel',)"
    )


def test_a_crop_of_two_forks_behind_another_obstacle(refused):
    text = (
        'layer { name: "pad" type: "Convolution" bottom: "data" top: "pad" '
        "convolution_param { num_output: 2 kernel_size: 1 pad: 8 } }\n"
        'layer { name: "crop" type: "Crop" bottom: "pad" bottom: "data" top: "crop" }\n'
    )
    assert refused(text, ShapeError)[1] == {
        "inputs": {"data": (1, 3, 224, 224)},
        "fork": "Crop=fcn",
    }


def test_an_input_beside_a_layer_has_its_shape(refused):
    """A picture that a net's output is added to, as in super-resolution."""
    text = (
        'layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" '
        "pooling_param { kernel_size: 2 stride: 2 } }\n"
        'layer { name: "sum" type: "Eltwise" bottom: "coarse" bottom: "pool" top: "sum" }\n'
    )
    changes = refused(text, ShapeError)[1]
    assert changes == {"inputs": {"data": (1, 3, 224, 224), "coarse": (1, 3, 112, 112)}}


def test_pictures_too_large_for_a_net_are_not_proposed(refused):
    text = FC.replace("num_output: 4", "num_output: 40000")
    assert refused(text, ShapeError)[1] == {"inputs": {"data": (1, 3, 64, 64)}}


def test_noise_on_the_data_falls_away(refused):
    """What works in place on an input's blob is left out with the input's shape."""
    noise = 'layer { name: "noise" type: "Noise" bottom: "data" top: "data" }\n'
    changes = refused(INPUT + noise + FC, UnsupportedError)[1]
    assert changes == {"inputs": {"data": (1, 3, 8, 9)}}


def test_the_deploy_form_comes_before_a_net_without_its_samplers(refused):
    """Faster R-CNN's training net: without roi-data the head would go, too."""
    python = 'layer { name: "%s" type: "Python" %s python_param { module: "m" layer: "%s" } }\n'
    text = (
        python % ("data", 'top: "data" top: "boxes"', "RoIDataLayer")
        + FC.replace('"fc" t', '"base" t').replace('top: "fc"', 'top: "base"')
        + python % ("rpn-data", 'bottom: "base" bottom: "boxes" top: "l"', "AnchorTargetLayer")
        + python % ("roi-data", 'bottom: "base" bottom: "boxes" top: "rois"', "ProposalTargetLayer")
        + FC.replace('"data"', '"rois"')
        + 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "base" bottom: "l" top: "loss" }\n'
    )
    changes = refused(text, UnsupportedError)[1]
    assert changes == {"deploy": True, "inputs": {"data": (1, 3, 224, 224)}}


def test_labels_that_only_left_out_layers_read_are_no_inputs(refused):
    python = 'layer { name: "%s" type: "Python" %s python_param { module: "m" layer: "%s" } }\n'
    text = (
        python % ("data", 'top: "data" top: "labels"', "Own")
        + FC
        + python % ("triplets", 'bottom: "fc" bottom: "labels" top: "anchor"', "Select")
    )
    changes = refused(text, UnsupportedError)[1]
    assert changes == {"inputs": {"data": (1, 3, 224, 224)}, "leave_out": ("triplets",)}


def test_half_a_net_is_not_proposed(refused):
    text = INPUT + layer("Novel", "data") + FC.replace('"data"', '"novel"')
    assert refused(text, UnsupportedError)[1] is None


def test_a_python_layer_is_left_out_by_its_name(refused):
    more = 'python_param { module: "m" layer: "Cluster" }'
    message, changes = refused(INPUT + FC + layer("Python", "fc", more=more))
    assert changes == {"leave_out": ("python",)}
    assert "class 'Cluster' is Python code" in message


def test_an_unknown_loss_becomes_a_prediction_or_falls_away(refused):
    text = INPUT + FC + layer("CenterLoss", "fc", "label")
    _, changes = refused(text + layer("SoftmaxWithLoss", "fc", "label"))
    assert changes == {"deploy": True}


def test_fields_and_shapes_together(refused):
    text = 'layer { name: "d" type: "Data" top: "data" data_param { batch_size: 4 } }\n'
    message, changes = refused(text + FC.replace("num_output", "novel: 1 num_output"), ParseError)
    assert changes == {"ignore_unknown": ("novel",), "inputs": {"data": (1, 3, 224, 224)}}
    assert "has no field 'novel'" in message
    assert "the shape of 'data' is not in the prototxt" in message


def test_a_field_that_changes_numbers_is_not_proposed(refused):
    message, changes = refused(
        INPUT + layer("Convolution", "data", more="convolution_param { num_output: 2 pad_left: 0 }")
    )
    assert changes is None
    assert "ignore_unknown" not in message


@pytest.mark.parametrize(
    ("transform", "size", "told"),
    [
        (
            "crop_size: 20",
            (1, 3, 20, 20),
            "3 channels, which nothing states; give its shape if it ",
        ),
        ("resize_param { height: 10 width: 12 }", (1, 3, 10, 12), "3 channels, which nothing"),
        ("crop_size: 20 mean_value: 1 mean_value: 2", (1, 2, 20, 20), "2 channels, as there are"),
    ],
)
def test_the_size_of_the_pictures_of_another_phase(tmp_path, caplog, transform, size, told):
    path = tmp_path / "net.prototxt"
    data = (
        'layer { name: "d" type: "Data" top: "data" include { phase: TRAIN } '
        f"transform_param {{ {transform} }} data_param {{ batch_size: 4 }} }}\n"
    )
    path.write_text(data + FC)
    with caplog.at_level("INFO", "caffe_compat"):
        graph = pipeline.read(path)
    assert [(value.blob, value.shape) for value in graph.inputs] == [("data", size)]
    assert f"'data' is taken to have {told}" in caplog.text
    high, wide = size[2:]
    assert f"{high} x {wide} pixels, as for 'd', which needs phase TRAIN" in caplog.text


def test_losses_without_labels_fall_away(tmp_path, caplog):
    path = tmp_path / "net.prototxt"
    data = CROPPED.replace('top: "data"', 'include { phase: TRAIN } top: "data"')
    mask = layer("Power", "label").replace('"power"', '"mask"')
    product = (
        'layer { name: "p" type: "Eltwise" bottom: "fc" bottom: "mask" top: "p" '
        "eltwise_param { operation: PROD } }\n"
    )
    scores = layer("SoftmaxWithLoss", "fc", "label") + layer("Accuracy", "fc", "label")
    path.write_text(data + FC + mask + product + layer("EuclideanLoss", "p", "fc") + scores)
    with caplog.at_level("INFO", "caffe_compat"):
        graph = pipeline.read(path)
    assert [value.blob for value in graph.outputs] == ["fc"]
    assert [value.shape for value in graph.inputs] == [(1, 3, 20, 20)]
    (record,) = [each for each in caplog.records if "cannot run" in each.getMessage()]
    assert record.getMessage() == (
        "left out, since only losses and accuracies depend on what cannot run: mask (Power), "
        "softmaxwithloss (SoftmaxWithLoss), accuracy (Accuracy)"
    )
    assert record.proposal == {"deploy": True}


def test_losses_in_python_fall_away_with_what_they_alone_read(tmp_path, refused):
    path = tmp_path / "net.prototxt"
    target = 'layer { name: "target" type: "Data" top: "target" data_param { batch_size: 4 } }\n'
    python = 'python_param { module: "m" layer: "SSIM" } loss_weight: 1'
    text = (
        CROPPED.replace(' top: "label"', "")
        + target
        + FC
        + layer("Python", "fc", "target", more=python)
    )
    path.write_text(text)
    graph = pipeline.read(path)
    assert [value.blob for value in graph.outputs] == ["fc"]
    assert [value.blob for value in graph.inputs] == ["data"]
    unknown = layer("Novel", "fc").replace("Novel", "NovelLoss")  # its name alone tells nothing
    assert refused(INPUT + FC + unknown)[1] == {"deploy": True}


def test_what_more_than_losses_depend_on_stays(refused):
    novel = layer("Novel", "fc")
    assert refused(INPUT + FC + novel + layer("Silence", "novel").replace('top: "silence"', ""))
    text = INPUT + FC + layer("ReLU", "fc") + layer("TanH", "fc") + novel + layer("Power", "novel")
    assert refused(text)[1] == {"leave_out": ("Novel",)}
    ends = layer("ReLU", "fc") + layer("TanH", "fc") + layer("Sigmoid", "fc")
    crf = novel + layer("EuclideanLoss", "novel", "fc")  # a part of the prediction before its loss
    assert refused(INPUT + FC + ends + crf)[1] == {"leave_out": ("Novel",)}
    added = layer("Eltwise", "fc", "other") + layer("EuclideanLoss", "eltwise", "fc")
    assert refused(INPUT + FC + added)[1] is not None
    learning = novel + FC.replace('"data"', '"novel"').replace('"fc"', '"fc2"')
    label = layer("SoftmaxWithLoss", "fc2", "label")
    assert "unknown layer type" in refused(INPUT + FC + learning + label)[0]


def test_the_shape_in_an_input_param(tmp_path, caplog):
    path = tmp_path / "net.prototxt"
    shape = "input_param { shape { dim: 1 dim: 3 dim: 8 dim: 9 } }"
    path.write_text(f'layer {{ name: "d" type: "Data" top: "data" {shape} }}\n' + FC)
    with caplog.at_level("INFO", "caffe_compat"):
        graph = pipeline.read(path)
    assert graph.inputs[0].shape == (1, 3, 8, 9)
    assert "'data' has the shape in input_param, which Data lacks" in caplog.text


def test_an_assumption_that_fails_is_taken_back(refused):
    frames = CROPPED.replace('"Data"', '"VideoData"').replace("batch_size: 4", "")
    stacked = "reshape_param { shape { dim: -1 dim: 10 dim: 20 dim: 20 } }"
    message, changes = refused(frames + layer("Reshape", "data", more=stacked), ShapeError)
    assert "batch_size must be positive, and is 0" in message
    assert changes == {"inputs": {"data": (1, 10, 20, 20)}}


CROPPED = (
    'layer { name: "d" type: "Data" top: "data" top: "label" '
    "transform_param { crop_size: 20 } data_param { batch_size: 4 } }\n"
)
CONV = (
    'layer { name: "c" type: "Convolution" bottom: "data" top: "c" '
    "convolution_param { num_output: 6 kernel_size: 3 group: 2 } }\n"
)


def test_channels_that_nothing_states_are_three_and_said(tmp_path, caplog):
    path = tmp_path / "net.prototxt"
    path.write_text(CROPPED + FC + layer("EuclideanLoss", "fc", "label"))
    with caplog.at_level("INFO", "caffe_compat"):
        deployed = pipeline.read(path, deploy=True)
    assert [value.dims for value in deployed.inputs] == [(None, 3, 20, 20)]
    (record,) = [each for each in caplog.records if "channels" in each.getMessage()]
    assert record.getMessage() == (
        "'data' is taken to have 3 channels, which nothing states; give its shape if it has others"
    )
    assert record.proposal == {"inputs": {"data": (None, 3, 20, 20)}}
    path.write_text(CROPPED + FC + layer("Silence", "label").replace('top: "silence"', ""))
    whole = pipeline.read(path)
    assert [value.shape for value in whole.inputs] == [(4, 3, 20, 20), (4,)]
    caplog.clear()
    pipeline.read(path, inputs={"data": (4, 1, 20, 20)})
    assert "channels" not in caplog.text


def test_labels_of_one_phase_named_as_the_pictures_of_another(tmp_path):
    path = tmp_path / "net.prototxt"
    train = CROPPED.replace('top: "data"', 'include { phase: TRAIN } top: "a"')
    test = CROPPED.replace('"data" top: "label"', '"label"')
    path.write_text(test + train + FC.replace("data", "label"))
    assert pipeline.read(path).inputs[0].shape == (4, 3, 20, 20)


def test_channels_that_the_weights_tell(tmp_path, caplog):
    path, file = tmp_path / "net.prototxt", tmp_path / "w.caffemodel"
    path.write_text(CROPPED + CONV)
    pipeline.save(pipeline.load(path, inputs={"data": (4, 8, 20, 20)}), file)
    with caplog.at_level("INFO", "caffe_compat"):
        net = pipeline.load(path, file)
    assert net.graph.inputs[0].shape == (4, 8, 20, 20)
    assert "'data' is taken to have 8 channels, as the weights of 'c' have" in caplog.text


def test_the_size_that_the_weights_fit(tmp_path, caplog):
    path, file = tmp_path / "net.prototxt", tmp_path / "w.caffemodel"
    path.write_text(CROPPED.replace("crop_size: 20", "mirror: true") + FC)
    pipeline.save(pipeline.load(path, inputs={"data": (1, 3, 227, 227)}), file)
    with caplog.at_level("INFO", "caffe_compat"):
        net = pipeline.load(path, file)
    assert net.graph.inputs[0].shape == (1, 3, 227, 227)
    told = "'data' is taken to be 1x3x227x227, a usual size, which the weights fit"
    assert told in caplog.text


def test_a_size_that_nothing_states_is_open(tmp_path, caplog):
    path = tmp_path / "net.prototxt"
    text = CROPPED.replace("crop_size: 20", "mirror: true") + CONV.replace("group: 2", "")
    path.write_text(text)
    with caplog.at_level("INFO", "caffe_compat"):
        graph = pipeline.read(path)
    assert graph.inputs[0].dims == (4, 3, None, None)
    (record,) = [each for each in caplog.records if "channels" in each.getMessage()]
    assert record.getMessage() == (
        "'data' is taken to have 3 channels, which nothing states; give its shape if it has "
        "others; height and width are open, since nothing states them"
    )
    assert record.proposal == {"inputs": {"data": (4, 3, None, None)}}
    for kind in ("Data", "Python", "Novel"):  # whatever reads them
        path.write_text(text.replace('"Data"', f'"{kind}"'))
        assert pipeline.read(path).inputs[0].dims[1:] == (3, None, None)
    grey = text.replace('"Data"', '"ImageData"').replace("data_param {", "image_data_param { %s")
    path.write_text(grey % "is_color: false")
    assert pipeline.read(path).inputs[0].dims == (4, 1, None, None)


def test_a_size_that_weights_hang_on_is_not_open(refused):
    dense = CONV.replace("group: 2", "") + FC.replace('"data"', '"c"')
    text = CROPPED.replace("crop_size: 20", "mirror: true") + dense
    message, changes = refused(text, ShapeError)
    assert "the shape of 'data' is not in the prototxt" in message
    assert changes == {"inputs": {"data": (1, 3, 224, 224)}}


def test_a_picture_that_does_not_fit_is_not_assumed(refused):
    _, changes = refused(CROPPED.replace("crop_size: 20", "mirror: true") + CONV, ShapeError)
    assert changes == {"inputs": {"data": (1, 2, 224, 224)}}  # group 2 divides them


@pytest.mark.parametrize(
    ("source", "size"), [("CIFAR10_lmdb", (3, 32, 32)), ("mnist", (1, 28, 28))]
)
def test_the_size_of_a_known_data_set(tmp_path, caplog, source, size):
    path = tmp_path / "net.prototxt"
    data = CROPPED.replace("crop_size: 20", "").replace("batch", f'source: "{source}" batch')
    path.write_text(data + FC)
    with caplog.at_level("INFO", "caffe_compat"):
        graph = pipeline.read(path)
    assert graph.inputs[0].shape == (4, *size)
    high, wide = size[1:]
    word = source.upper()[:5]
    told = f"{size[0]} channels, as {word} has, and {high} x {wide} pixels, as {word} has"
    assert told in caplog.text


def test_a_pair_of_a_known_data_set(refused):
    data = CROPPED.replace("crop_size: 20", "").replace("batch", 'source: "mnist" batch')
    parts = "slice_param { axis: 1 slice_point: 1 }"
    text = data + f'layer {{ name: "s" type: "Slice" bottom: "data" top: "a" top: "b" {parts} }}\n'
    assert refused(text + layer("Eltwise", "a", "b"))[1] == {"inputs": {"data": (1, 2, 28, 28)}}


def test_the_channels_that_fit(refused):
    parts = "slice_param { axis: 1 slice_point: 1 }"
    text = 'input: "data"\n' + (
        f'layer {{ name: "s" type: "Slice" bottom: "data" top: "a" top: "b" {parts} }}\n'
    )
    text += layer("Eltwise", "a", "b")
    assert refused(text)[1] == {"inputs": {"data": (1, 2, 224, 224)}}


def test_a_stage(refused):
    staged = INPUT.replace('top: "data"', 'top: "data" include { stage: "deploy" }')
    other = staged.replace("deploy", "val")
    message, changes = refused(other + staged + FC)
    assert changes == {"stages": ("deploy",)}
    assert "made by 'data', which needs stage val; made by 'data', which needs stage d" in message


def test_a_stage_that_is_not_asked_for(refused):
    """An input whose size alone is missing needs no other stage, though one would state it."""
    reads = 'layer { name: "d" type: "Data" top: "data" data_param { batch_size: 2 } '
    staged = INPUT.replace("input_param", 'include { stage: "x" } input_param')
    text = reads + 'include { not_stage: "x" } }\n' + staged
    assert refused(text + FC)[1] == {"inputs": {"data": (1, 3, 8, 9)}}


def test_a_fork(refused):
    message, changes = refused(INPUT + layer("BN", "data"))
    assert changes == {"fork": "BN=segnet"}
    assert "differs among forks" in message


def test_all_that_stands_in_the_way_without_a_way(refused):
    text = layer("OwnData") + FC.replace('"data"', '"owndata"')
    text += layer("Convolution", "fc", more="convolution_param { num_output: 0 kernel_size: 1 }")
    message, changes = refused(text)
    assert changes is None
    for words in ("(OwnData): unknown layer type", "(Convolution): num_output must be positive"):
        assert words in message


def test_changes_over_options():
    reading = Reading(leave_out=("a",), inputs={"x": (1,)}, fork="bvlc")
    changed = apply(reading, {"leave_out": ("b",), "inputs": {"y": (2,)}, "deploy": True})
    assert (changed.leave_out, changed.inputs) == (("a", "b"), {"x": (1,), "y": (2,)})
    assert (changed.deploy, changed.fork) == (True, "bvlc")
    assert apply(reading, {"fork": "BN=segnet"}).fork == "bvlc,BN=segnet"
    assert apply(Reading(), {"fork": "BN=segnet"}).fork == "BN=segnet"
