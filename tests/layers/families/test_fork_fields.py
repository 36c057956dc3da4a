"""Fields that forks added to BVLC's layers, each beside PyTorch or plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.layers.registry import registry

from ...cases import (
    assert_close,
    check_both,
    check_gradients,
    check_varying,
    feed,
    make,
    one_layer,
    operators,
)

SHAPE = (2, 3, 7, 9)


def windows(x, kernel, stride, before, behind, out):
    """Each window's elements within the image, and its size within the padded image."""
    height, width = x.shape[2:]
    for i, j in np.ndindex(*out):
        top, left = i * stride - before[0], j * stride - before[1]
        ends = min(top + kernel, height + behind[0]), min(left + kernel, width + behind[1])
        inside = x[:, :, max(top, 0) : min(ends[0], height), max(left, 0) : min(ends[1], width)]
        yield (i, j), inside, (ends[0] - top) * (ends[1] - left)


PADS = "pad_t: 0 pad_l: 1 pad_b: 2 pad_r: 1"


@pytest.mark.parametrize(
    ("rounding", "out"),
    [
        ("ceil_mode: false", (4, 5)),
        ("torch_pooling: true", (4, 5)),
        ("ceil_mode: true", (4, 5)),
        ("round_mode: FLOOR ceil_mode: true", (4, 5)),
    ],
)
@pytest.mark.parametrize("pool", ["MAX", "AVE", "AVE_EXC_PAD", "AVE_TF"])
def test_pooling_of_sides(pool, rounding, out):
    body = (
        f'type: "Pooling" pooling_param {{ pool: {pool} kernel_size: 3 stride: 2 {PADS} '
        f"{rounding} }}"
    )
    text = one_layer(body, (2, 3, 8, 9))
    net = make(text)
    x = feed(net)["a"]
    want = np.empty((2, 3, *out), np.float32)
    for (i, j), inside, size in windows(x, 3, 2, (0, 1), (2, 1), out):
        flat = inside.reshape(2, 3, -1)
        divisor = size if pool == "AVE" else flat.shape[2]
        want[:, :, i, j] = flat.max(2) if pool == "MAX" else flat.sum(2) / divisor
    assert_close(check_both(text)["y"], want)
    check_gradients(text)


def test_rounding():
    """BVLC's round_mode stands above ceil_mode, whose default is its own."""
    for field, size in [
        ("", 3),
        ("ceil_mode: false", 2),
        ("torch_pooling: true", 2),
        ("round_mode: CEIL ceil_mode: false", 3),
    ]:
        body = f'type: "Pooling" pooling_param {{ kernel_size: 3 stride: 3 {field} }}'
        assert make(one_layer(body, SHAPE)).graph.outputs[0].shape == (2, 3, size, 3)
        check_varying(
            one_layer(
                (
                    f'type: "Pooling" pooling_param {{ pool: AVE_EXC_PAD kernel_size: 3 '
                    f"stride: 2 pad: 1 {field} }}"
                ),
                SHAPE,
            ),
            {"a": (2, 3, None, None)},
            [{"a": (2, 3, 8, 11)}, {"a": (2, 3, 7, 9)}],
        )


def test_convolution_of_sides():
    torch = pytest.importorskip("torch")
    body = (
        f'type: "Convolution" convolution_param {{ num_output: 4 kernel_size: 3 stride: 2 '
        f'{PADS} weight_filler {{ type: "gaussian" }} bias_filler {{ type: "gaussian" }} }}'
    )
    text = one_layer(body, SHAPE)
    net = make(text)
    x, (weight, bias) = torch.from_numpy(feed(net)["a"]), map(torch.from_numpy, net.arrays[-1])
    padded = torch.nn.functional.pad(x, (1, 1, 0, 2))
    want = torch.nn.functional.conv2d(padded, weight, bias, stride=2)
    assert_close(check_both(text)["y"], want.numpy())
    check_gradients(text)


@pytest.mark.parametrize("hole", ["hole: 2", "hole_h: 2 hole_w: 1", "hole_w: 3"])
def test_hole_is_dilation(hole):
    torch = pytest.importorskip("torch")
    body = (
        f'type: "Convolution" convolution_param {{ num_output: 4 kernel_size: 3 pad: 2 {hole} '
        f'weight_filler {{ type: "gaussian" }} }}'
    )
    text = one_layer(body, SHAPE)
    net = make(text)
    dilation = {"hole: 2": (2, 2), "hole_h: 2 hole_w: 1": (2, 1), "hole_w: 3": (1, 3)}[hole]
    weight, bias = map(torch.from_numpy, net.arrays[-1])
    x = torch.from_numpy(feed(net)["a"])
    want = torch.nn.functional.conv2d(x, weight, bias, padding=2, dilation=dilation)
    assert_close(check_both(text)["y"], want.numpy())


def test_relu6():
    text = one_layer('type: "ReLU" relu_param { relu6: true }', SHAPE)
    x = 10 * feed(make(text))["a"]
    assert_close(check_both(text, feeds={"a": x})["y"], np.clip(x, 0, 6))
    assert operators(text) == ["Clip"]
    sloped = one_layer('type: "ReLU" relu_param { relu6: true negative_slope: 0.5 }', SHAPE)
    want = np.minimum(np.where(x > 0, x, x / 2), 6)
    assert_close(check_both(sloped, feeds={"a": x})["y"], want)
    x[np.abs(x - 6) < 0.01] = 0.5
    x[np.abs(x) < 0.01] = 0.5
    check_gradients(sloped, feeds={"a": x})


def test_dropout_unscaled_in_training():
    text = one_layer(
        'type: "Dropout" dropout_param { dropout_ratio: 0.25 scale_train: false }', SHAPE
    )
    x = feed(make(text))["a"]
    assert_close(check_both(text)["y"], 0.75 * x)
    check_gradients(text)
    layer = make(text, phase="TRAIN").graph.nodes[-1].layer
    mask = (np.arange(x.size).reshape(x.shape) % 4 > 0).astype(np.float32)
    assert np.array_equal(layer.forward(x, mask), x * mask)
    assert np.array_equal(layer.backward(x, x, mask), x * mask)


NVIDIA = (
    'type: "BatchNorm" batch_norm_param { scale_bias: true scale_filler { type: "gaussian" } '
    'bias_filler { type: "gaussian" } }'
)


def test_nvidia_batch_norm():
    """Five blobs: the moments, 1, a scale and a bias."""
    text = one_layer(NVIDIA, SHAPE)
    net = make(text)
    mean, variance, factor, scale, bias = net.arrays[-1]
    assert factor.tolist() == [1]
    rng = np.random.default_rng(2)
    mean[:], variance[:] = rng.standard_normal(3), rng.uniform(0.5, 2, 3)
    x = feed(net)["a"]
    part = [array.reshape(3, 1, 1) for array in (mean, variance, scale, bias)]
    want = (x - part[0]) / np.sqrt(part[1] + 1e-5) * part[2] + part[3]
    layer = net.graph.nodes[-1].layer
    blobs = dict(zip(("mean", "variance", "factor", "scale", "bias"), net.arrays[-1], strict=True))
    assert_close(layer.forward(x, **blobs), want)
    check_both(text)
    check_gradients(one_layer(NVIDIA, (4, 3, 2, 5)), phase="TRAIN", tolerance=1e-2)


def test_nvidia_batch_norm_in_training():
    """The first two passes set the averages, the others move them."""
    layer = make(one_layer(NVIDIA, SHAPE), phase="TRAIN").graph.nodes[-1].layer
    x = feed(make(one_layer(NVIDIA, SHAPE)))["a"]
    arrays = {"mean": np.ones(3, np.float32), "variance": np.ones(3, np.float32), **layer.state()}
    moments = x.mean((0, 2, 3)), x.var((0, 2, 3))
    before: list[np.ndarray] = []
    for done in range(4):
        arrays.update(layer.update(x * (done + 1), **arrays))
        assert arrays["passes"] == done + 1
        wanted = [(done + 1) * moments[0], (done + 1) ** 2 * moments[1]]
        if done > 1:
            wanted = [0.999 * old + 0.001 * new for old, new in zip(before, wanted, strict=True)]
        before = wanted
        assert_close(arrays["mean"], wanted[0], 1e-4, axis=None)
        assert_close(arrays["variance"], wanted[1], 1e-4, axis=None)
    spec = "param { } param { } param { } param { lr_mult: 2 }"
    with pytest.raises(UnsupportedError, match="lr_mult"):
        make(
            one_layer(f"{NVIDIA} {spec}".replace("param { }", "param { lr_mult: 0 }"), SHAPE),
            phase="TRAIN",
        )


def test_eps_behind_the_root():
    body = 'type: "BatchNorm" batch_norm_param { eps: 0.5 add_eps_before_sqrt: false }'
    net = make(one_layer(body, SHAPE))
    net.arrays[-1][1][:], net.arrays[-1][2][:] = [8, 18, 32], 2
    x = feed(net)["a"]
    layer, (mean, variance, factor) = net.graph.nodes[-1].layer, net.arrays[-1]
    blobs = {"mean": mean, "variance": variance, "factor": factor}
    assert_close(layer.forward(x, **blobs), x / np.reshape([2.5, 3.5, 4.5], (3, 1, 1)))
    check_both(one_layer(body, SHAPE))
    check_gradients(one_layer(body, SHAPE))


def test_pixel_shuffle():
    torch = pytest.importorskip("torch")
    text = one_layer('type: "Reshape" reshape_param { pixelshuffler: 3 }', (2, 18, 5, 4))
    x = feed(make(text))["a"]
    want = torch.nn.functional.pixel_shuffle(torch.from_numpy(x), 3)
    assert np.array_equal(check_both(text)["y"], want.numpy())
    check_gradients(text)
    with pytest.raises(ShapeError, match="3 x 3"):
        make(one_layer('type: "Reshape" reshape_param { pixelshuffler: 3 }', (2, 8, 5, 4)))
    kept = 'type: "Reshape" reshape_param { pixelshuffler: 1 shape { dim: 0 dim: -1 } }'
    assert make(one_layer(kept, (2, 8, 5, 4))).graph.outputs[0].shape == (2, 160)


@pytest.mark.parametrize(
    ("param", "shape", "out"),
    [
        ("", (1, 3, 1, 5), (3, 5)),
        ("axis: 2", (1, 3, 1, 5), (1, 3, 5)),
        ("axis: -2", (1, 3, 1, 5), (1, 3, 5)),
    ],
)
def test_squeeze(param, shape, out):
    text = one_layer(f'type: "Squeeze" squeeze_param {{ {param} }}', shape)
    assert check_both(text)["y"].shape == out
    check_gradients(text)
    with pytest.raises(ShapeError, match="size 1"):
        make(one_layer('type: "Squeeze" squeeze_param { axis: 1 }', shape))


def test_a_field_selects_its_fork():
    """The field decides, whatever fork is named and whatever its default."""
    both = registry()["BatchNorm"]
    assert [cls.fork for cls in both] == [None, "nvidia"]
    for fork in (None, "nvidia", "segnet"):
        plain = make(
            one_layer('type: "BatchNorm" batch_norm_param { scale_bias: false }', SHAPE), fork=fork
        )
        assert plain.graph.nodes[-1].layer.fork is None
        assert make(one_layer(NVIDIA, SHAPE), fork=fork).graph.nodes[-1].layer.fork == "nvidia"


@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_pooling_as_large_as_the_image(pool, kernel):
    """pad_type: 1 is TensorFlow's SAME: an odd pad has one more behind."""
    body = f"pooling_param {{ pool: {pool} kernel_size: {kernel} pad_type: 1 }}"
    text = one_layer(f'type: "Pooling" {body}', (2, 3, 5, 6))
    x = feed(make(text))["a"]
    want = np.empty((2, 3, 5, 6), np.float32)
    before = (kernel - 1) // 2
    behind = (kernel - 1 - before,) * 2
    for (i, j), inside, size in windows(x, kernel, 1, (before,) * 2, behind, (5, 6)):
        want[..., i, j] = inside.max((2, 3)) if pool == "MAX" else inside.sum((2, 3)) / size
    assert_close(check_both(text)["y"], want)


def test_convolution_as_large_as_the_image():
    param = 'num_output: 2 kernel_size: 4 weight_filler { type: "gaussian" } %s'
    texts = [
        one_layer(f'type: "Convolution" convolution_param {{ {param % pads} }}', (2, 3, 5, 6))
        for pads in ("pad_type: 1", "pad_t: 1 pad_l: 1 pad_b: 2 pad_r: 2")
    ]
    outputs = [check_both(text)["y"] for text in texts]
    assert outputs[0].shape == (2, 2, 5, 6)
    assert np.array_equal(*outputs)


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ("pad_type: 2", ShapeError, "pad_type must be 0 or 1"),
        ("pad_type: 1 pad: 1", ShapeError, "either pad_type or a pad"),
        ("pad_type: 1 pad_l: 1", ShapeError, "either pad_type or a pad"),
        ("pad_type: 1 stride: 2", UnsupportedError, "depend on the input's size"),
    ],
)
def test_refused_pads(more, error, words):
    for body in (
        f'"Pooling" pooling_param {{ kernel_size: 3 {more} }}',
        f'"Convolution" convolution_param {{ num_output: 1 kernel_size: 3 {more} }}',
    ):
        with pytest.raises(error, match=words):
            make(one_layer(f"type: {body}", (2, 3, 5, 6)))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('type: "Pooling" pooling_param { kernel_size: 3 pad: 1 pad_l: 1 }', "not both"),
        (
            (
                'type: "Convolution" convolution_param { num_output: 1 kernel_size: 3 hole: '
                "2 dilation: 2 }"
            ),
            "not both",
        ),
        (
            (
                'type: "Convolution" convolution_param { num_output: 1 kernel_size: 3 axis: '
                "2 pad_l: 2 }"
            ),
            "2 spatial axes",
        ),
    ],
)
def test_refused(body, words):
    with pytest.raises(ShapeError, match=words):
        make(one_layer(body, SHAPE))


CONVOLUTION = (
    'convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "gaussian" } }'
)


@pytest.mark.parametrize("field", ["weights_compress", "activations_compress", "compress"])
def test_compressed_layers_are_refused(field):
    with pytest.raises(UnsupportedError, match="every pass"):
        make(one_layer(f'type: "Convolution" {CONVOLUTION} {field}: "Ternary"', SHAPE))


def test_how_a_layer_trains_does_not_matter_in_test():
    fields = "connectivity_mode: DISCONNECTED_ELTWISE forward_type: FLOAT16 backward_type: FLOAT"
    body = f'type: "Convolution" {CONVOLUTION} {fields}'
    make(one_layer(body, SHAPE))
    with pytest.raises(UnsupportedError, match="connectivity_mode"):
        make(one_layer(body, SHAPE), phase="TRAIN")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('type: INTERP bottom: "x" top: "y" interp_param { zoom_factor: 2 }', "Interp"),
        ('type: PADDING bottom: "x" top: "y" padding_param { pad: 1 }', "Padding"),
        ('type: SMOOTH_L1_LOSS bottom: "x" bottom: "x" top: "y"', "SmoothL1Loss"),
        (
            'type: ROI_POOLING bottom: "x" bottom: "r" top: "y" '
            "roi_pooling_param { pooled_h: 2 pooled_w: 2 }",
            "ROIPooling",
        ),
        ('type: CROP bottom: "x" bottom: "x" top: "y"', "AutoCrop"),
    ],
)
def test_types_of_2014(body, name):
    inputs = 'input: "x" input_dim: 1 input_dim: 2 input_dim: 5 input_dim: 7 '
    inputs += 'input: "r" input_dim: 3 input_dim: 5 input_dim: 1 input_dim: 1 '
    layer = make(f'{inputs} layers {{ name: "l" {body} }}').graph.nodes[-1].layer
    assert layer.type == name


def test_intels_filler_leaves_batch_norm_as_it_is():
    """Its Scale stands behind in the file, and the layer has three blobs."""
    body = 'type: "BatchNorm" batch_norm_param { filler { value: 1 } bias_filler { value: 0 } }'
    node = make(one_layer(body, SHAPE)).graph.nodes[-1]
    assert node.layer.fork is None
    assert len(node.blobs) == 3
