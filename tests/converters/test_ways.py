"""Files that people find: what a refusal prints is run, and what was left out is told."""

from __future__ import annotations

import shlex

import numpy as np
import onnx
import pytest
from PIL import Image

from caffe_compat import weights

from ..cases import REPORTS
from .models import error

# The report's file, the options that its refusal proposes, and what the message must name.
REFUSALS = [
    ("04_data_label_batch/net", "--input data=1x3x224x224", "the shape of 'data'"),
    ("04_data_label_batch/loss", "--input data=1x3x224x224", "the shape of 'data'"),
    ("08_no_shape/net", "--input data=1x3x224x224", "unknown bottom blob 'data'"),
    ("10_stage/net", "--stage deploy", "made by 'deploy_data', which needs stage deploy"),
    ("17_unknown_layer/net", "--leave-out Region", "--until BLOB, --leave-out TYPE|NAME, --custom"),
    ("29_batch_size_0/net", "--input data=1x3x224x224", "batch_size must be positive"),
    ("33_unknown_data_layer/net", "--input data=1x3x224x224", "of alexgkendall/caffe-segnet"),
    ("34_unknown_end/net", "--leave-out EvalDetection", "takes 2 to 3 bottom"),
    ("42_silence_output/net", "--blob class8_ab", "Silence ends 'class8_ab'"),
]


@pytest.mark.parametrize(("name", "options", "words"), REFUSALS, ids=[r[0] for r in REFUSALS])
def test_the_printed_command_converts(run, tmp_path, name, options, words):
    net, output = REPORTS / f"{name}.prototxt", tmp_path / "net.onnx"
    result = run("convert", net, "-o", output)
    assert words in error(result)
    command = result[2].splitlines()[-1].removeprefix("try: ")
    assert command == f"caffe-compat convert {net} -o {output} {options}"
    status, out, err = run(*shlex.split(command)[1:], "--verify")
    assert status == 0, err
    assert "verified: numpy and onnxruntime agree" in out
    onnx.checker.check_model(onnx.load(output), full_check=True)


def converted(run, net, output, *options):
    """The standard error of a conversion that is verified."""
    status, out, err = run("convert", net, "-o", output, *options, "--verify")
    assert status == 0, err
    assert "verified: numpy and onnxruntime agree" in out
    return err


def test_what_no_number_hangs_on_is_not_asked_for(run, tmp_path):
    err = converted(run, REPORTS / "07_python_source/net.prototxt", tmp_path / "net.onnx")
    assert "height and width are open, since nothing states them" in err


def test_a_size_that_onnx_alone_must_know(run, tmp_path):
    net, output = tmp_path / "net.prototxt", tmp_path / "net.onnx"
    net.write_text(
        'layer { name: "d" type: "Data" top: "data" data_param { batch_size: 2 } }\n'
        'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param {'
        ' num_output: 3 kernel_size: 9 stride: 9 weight_filler { type: "xavier" } } }\n'
        'layer { name: "s" type: "SPP" bottom: "c" top: "s" spp_param { pyramid_height: 2 } }\n'
    )
    result = run("convert", net, "-o", output)
    assert "'s' (SPP): needs axis 2 of its bottom at a fixed size" in error(result)
    command = result[2].splitlines()[-1].removeprefix("try: ")
    assert command == f"caffe-compat convert {net} -o {output} --input data=2x3x224x224"
    status, out, err = run(*shlex.split(command)[1:], "--verify")
    assert (status, "verified: " in out) == (0, True), err


def test_a_margin_for_training(run, tmp_path):
    """Report 46: the whole training net, and its deploy form, which ends before the margin."""
    net, output = REPORTS / "46_init_unknown_end/net.prototxt", tmp_path / "net.onnx"
    status, _, err = run("convert", net, "-o", output, "--verify")
    assert status == 0, err
    assert [end.name for end in onnx.load(output).graph.output] == ["lambda", "loss"]
    err = converted(run, net, output, "--deploy")
    assert "note: left out 2 of 6 layers: fc6 (MarginInnerProduct), loss (SoftmaxWithLoss)" in err
    assert [end.name for end in onnx.load(output).graph.output] == ["fc5"]


def test_a_layer_without_onnx_form_at_the_end_is_left_out(run, tmp_path):
    net, output = tmp_path / "net.prototxt", tmp_path / "net.onnx"
    net.write_text(
        'input: "data" input_shape { dim: 1 dim: 2 dim: 6 dim: 8 }\n'
        'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param {'
        ' num_output: 3 kernel_size: 1 weight_filler { type: "xavier" } } }\n'
        'layer { name: "r" type: "ReLU" bottom: "c" top: "r" }\n'
        'layer { name: "p" type: "Pooling" bottom: "r" top: "p"'
        " pooling_param { pool: STOCHASTIC kernel_size: 2 } }\n"
    )
    result = run("convert", net, "-o", output, "--phase", "TRAIN")
    assert "(--until BLOB, --leave-out TYPE|NAME)" in error(result)
    command = result[2].splitlines()[-1].removeprefix("try: ")
    assert command == f"caffe-compat convert {net} -o {output} --phase TRAIN --leave-out Pooling"
    assert run(*shlex.split(command)[1:], "--verify")[0] == 0
    net.write_text(
        net.read_text() + 'layer { name: "s" type: "Sigmoid" bottom: "p" top: "s" }\n'
        'layer { name: "t" type: "TanH" bottom: "s" top: "t" }\n'
    )
    assert "\ntry: " not in run("convert", net, "-o", output, "--phase", "TRAIN")[2]


def test_either_of_two_printed_commands_converts(run, tmp_path):
    net, output = REPORTS / "02_hed_crop/net.prototxt", tmp_path / "net.onnx"
    status, _, err = run("convert", net, "-o", output)
    commands = err.splitlines()[-2:]
    assert (status, [line.split(":")[0] for line in commands]) == (1, ["try", "or"])
    for line, fork in zip(commands, ("fcn", "bvlc"), strict=True):
        words = shlex.split(line)[2:]
        assert words == ["convert", str(net), "-o", str(output), "--fork", f"Crop={fork}"]
        status, out, err = run(*words, "--verify")
        assert (status, "verified: " in out) == (0, True), err


def test_a_fork_that_would_refuse_the_net_is_not_asked_for(run, tmp_path):
    """FCN's Crop aborts where the bottoms meet at no whole offset, as the second's here."""
    net, output = tmp_path / "net.prototxt", tmp_path / "net.onnx"
    conv = (
        'layer { name: "%s" type: "Convolution" bottom: "data" top: "%s" convolution_param {'
        ' num_output: 2 %s weight_filler { type: "xavier" } } }\n'
    )
    crop = 'layer { name: "%s" type: "Crop" bottom: "%s" bottom: "data" top: "%s" }\n'
    net.write_text(
        'input: "data" input_shape { dim: 1 dim: 2 dim: 9 dim: 8 }\n'
        + conv % ("a", "a", "kernel_size: 3 pad: 3")
        + conv % ("b", "b", "kernel_size: 2 pad: 3")
        + crop % ("one", "a", "one")
        + crop % ("two", "b", "two")
    )
    status, out, err = run("convert", net, "-o", output, "--verify")
    assert (status, "verified: " in out) == (0, True), err
    assert (
        "note: layers of type Crop are taken as BVLC's, since FCN's would not do: layer 'two'"
        in err
    )


def test_pictures_of_another_phase(run, tmp_path):
    err = converted(run, REPORTS / "09_train_only/net.prototxt", tmp_path / "net.onnx")
    assert "16 x 16 pixels, as for 'data', which needs phase TRAIN (--input data=1x3x16x16)" in err


def test_all_that_stands_in_the_way_at_once(run, tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_text(
        'layer { name: "d" type: "OwnData" top: "data" top: "label" }\n'
        'layer { name: "c" type: "Convolution" bottom: "data" top: "c"\n'
        "  convolution_param { num_output: 5 kernel_size: 3 novel: 1 } }\n"
        'layer { name: "a" type: "Reshpae" bottom: "c" top: "a" }\n'
        'layer { name: "e" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" top: "loss" }'
    )
    result = run("convert", net, "-o", tmp_path / "net.onnx")
    message = error(result)
    for words in ("(OwnData)", "(Reshpae)", "the nearest known one is Reshape", "field 'novel'"):
        assert words in message
    command = shlex.split(result[2].splitlines()[-1].removeprefix("try: "))
    assert {"--leave-out", "Reshpae", "--ignore-unknown", "novel", "--deploy"} < {*command}
    assert run(*command[1:])[0] == 0


def test_the_label_follows_the_batch(run, tmp_path):
    net = REPORTS / "04_data_label_batch/net.prototxt"
    for options, sizes in (
        (["--input", "data=2x3x4x5"], {"data": [2, 3, 4, 5], "label": [2]}),
        (["--input", "data=?x3x4x5"], {"data": [0, 3, 4, 5], "label": [0]}),
        (["--input", "data=8x3x4x5", "--batch", "4"], {"data": [4, 3, 4, 5], "label": [4]}),
    ):
        assert run("convert", net, "-o", tmp_path / "net.onnx", *options)[0] == 0
        inputs = onnx.load(tmp_path / "net.onnx").graph.input
        dims = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in inputs}
        assert dims == sizes


def test_every_command_takes_the_cuts(run, tmp_path):
    net, cut = REPORTS / "46_init_unknown_end/net.prototxt", ["--until", "fc5"]
    weights_file = tmp_path / "w.caffemodel"
    status, out, err = run("init", net, "-o", weights_file, *cut)
    assert status == 0
    assert "note: left out 2 of 6 layers: fc6 (MarginInnerProduct), loss (SoftmaxWithLoss)" in err
    assert [layer.name for layer in weights.read(weights_file).layers if layer.blobs] == [
        "c1",
        "p1",
        "fc5",
    ]
    for command in (
        ["show", net],
        ["show", net, "--costs"],
        ["show", net, "--fillers"],
        ["doctor", net, "--trials", "1"],
        ["show", net, "--splits"],
        ["convert", net, weights_file, "-o", tmp_path / "net.onnx"],
        ["fold", net, weights_file, "-o", tmp_path / "f.prototxt", tmp_path / "f.caffemodel"],
        ["export", net, "--weights", weights_file, "--triton", tmp_path / "models"],
        ["upgrade", net, "-o", tmp_path / "cut.prototxt"],
    ):
        status, _, err = run(*command, *cut)
        assert status in (0, 3), (command, err)
    assert run("show", tmp_path / "cut.prototxt")[0] == 0
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 8, 8), np.float32))
    status, out, _ = run("run", net, *cut, "--feed", f"data={tmp_path / 'x.npy'}")
    assert (status, out.split()[:2]) == (0, ["fc5", "2x8"])


def test_the_deploy_form_as_text(run, tmp_path):
    net, path = tmp_path / "train.prototxt", tmp_path / "deploy.prototxt"
    net.write_text(
        'layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TRAIN }\n'
        "  transform_param { crop_size: 9 mean_value: 1 mean_value: 2 mean_value: 3 }\n"
        "  data_param { batch_size: 64 } }\n"
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"\n'
        '  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }\n'
        'layer { name: "a" type: "Accuracy" bottom: "fc" bottom: "label" }\n'
        'layer { name: "l" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" }\n'
    )
    assert run("upgrade", net, "--deploy", "-o", path)[0] == 0
    status, out, _ = run("show", path)
    assert status == 0
    assert "inputs   data 1x3x9x9" in out
    assert "outputs  prob 1x4" in out
    status, out, err = run("convert", net, "--deploy", "-o", tmp_path / "net.onnx", "--verify")
    assert status == 0
    assert "left out" in err
    (given,) = onnx.load(tmp_path / "net.onnx").graph.input
    assert [d.dim_value for d in given.type.tensor_type.shape.dim] == [0, 3, 9, 9]


def test_a_net_of_losses_alone_names_the_deploy_form(run, tmp_path):
    net = REPORTS / "04_data_label_batch/loss.prototxt"
    options = ["--input", "data=1x3x4x5", "-o", tmp_path / "net.onnx"]
    _, _, err = run("convert", net, *options)
    last = "note: the outputs are losses and accuracies; --deploy gives predictions"
    assert err.splitlines()[-1] == last
    assert last not in run("convert", net, *options, "--deploy")[2]


@pytest.mark.parametrize(("name", "size"), [("14_openpose_1x1", "1 x 1"), ("40_openpose_16", "16")])
def test_a_picture_that_a_declared_size_would_shrink(run, tmp_path, name, size):
    Image.fromarray(np.full((40, 50, 3), 7, np.uint8)).save(tmp_path / "a.png")
    net = REPORTS / name / "net.prototxt"
    _, _, err = run("run", net, "--image", tmp_path / "a.png")
    (line,) = [line for line in err.splitlines() if "shrunk" in line]
    assert size in line
    assert line.endswith("None for any size (?) (--input image=1x3x368x368)")
    assert (
        "shrunk"
        not in run("run", net, "--image", tmp_path / "a.png", "--input", "image=1x3x32x40")[2]
    )


@pytest.mark.parametrize("batch", ["4", "dynamic"])
def test_a_batch_that_a_reshape_folds(run, tmp_path, batch):
    net = REPORTS / "43_reshape_batch1/net.prototxt"
    status, _, err = run("convert", net, "-o", tmp_path / "net.onnx", "--batch", batch)
    assert status == 0
    assert "layer 'scores' (Reshape): 'dim: 1' folds the batch" in err
    assert "'dim: 0' keeps it" in err
    assert "folds" not in run("convert", net, "-o", tmp_path / "net.onnx")[2]


def test_quotes_around_a_type_of_v1(run):
    message = error(run("show", REPORTS / "16_v1_quoted/net.prototxt"))
    assert message.endswith("field 'type': the quotes are the mistake: type: CONVOLUTION")


def test_what_cannot_change_a_number_is_no_error(run, tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_text(
        'layer { name: "d" type: "Data" top: "data" top: "label" transform_param { novel: 1\n'
        "  mirror: true mirror: false } data_param { batch_size: 2 backend: IMAGEDB } }\n"
        'layer { name: "t" type: "Novel" bottom: "data" top: "t" include { phase: TRAIN } b: 1 }\n'
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param {\n'
        '  num_output: 4 engine: "x" weight_filler { type: "xavier" novel: 1 } } }\n'
        'layer { name: "s" type: "Novel" bottom: "label" }\n'
    )
    cut = ["--leave-out", "Novel", "--input", "data=2x3x4x5"]
    message = error(run("show", net, *cut))
    assert "FillerParameter has no field 'novel'" in message
    assert "mirror" not in message
    file = tmp_path / "w.caffemodel"
    assert run("init", net, "-o", file, *cut, "--ignore-unknown", "novel")[0] == 0
    assert run("convert", net, file, "-o", tmp_path / "n.onnx", *cut)[0] == 0
