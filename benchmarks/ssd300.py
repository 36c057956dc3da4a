"""The prototxt of SSD-300 with VGG-16 (Liu et al. 2016, figure 2), for benchmarks."""

from __future__ import annotations

from collections.abc import Iterator

# Blob, min and max size of its boxes in pixels, step, and aspect ratios beside 1.
HEADS = (
    ("conv4_3_norm", 30, 60, 8, (2,)),
    ("fc7", 60, 111, 16, (2, 3)),
    ("conv6_2", 111, 162, 32, (2, 3)),
    ("conv7_2", 162, 213, 64, (2, 3)),
    ("conv8_2", 213, 264, 100, (2,)),
    ("conv9_2", 264, 315, 300, (2,)),
)
CLASSES = 21


def text(batch: int) -> str:
    """Return the prototxt for a batch of 300x300 images."""
    return "\n".join([_input(batch), *_backbone(), *_heads(), _end()])


def _input(batch: int) -> str:
    shape = f"shape {{ dim: {batch} dim: 3 dim: 300 dim: 300 }}"
    return f'layer {{ name: "data" type: "Input" top: "data" input_param {{ {shape} }} }}'


def _backbone() -> Iterator[str]:
    bottom = "data"
    for stage, (count, width) in enumerate(
        ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), start=1
    ):
        for i in range(1, count + 1):
            yield from _conv(bottom, f"conv{stage}_{i}", width, "kernel_size: 3 pad: 1")
            bottom = f"conv{stage}_{i}"
        size = "kernel_size: 2 stride: 2" if stage < 5 else "kernel_size: 3 stride: 1 pad: 1"
        yield _layer("Pooling", bottom, f"pool{stage}", f"pooling_param {{ pool: MAX {size} }}")
        bottom = f"pool{stage}"
    scale = 'norm_param { across_spatial: false scale_filler { type: "constant" value: 20 } }'
    yield _layer("Normalize", "conv4_3", "conv4_3_norm", scale)
    yield from _conv("pool5", "fc6", 1024, "kernel_size: 3 pad: 6 dilation: 6")
    yield from _conv("fc6", "fc7", 1024, "kernel_size: 1")
    bottom = "fc7"
    for stage, widths, last in (
        (6, (256, 512), "kernel_size: 3 pad: 1 stride: 2"),
        (7, (128, 256), "kernel_size: 3 pad: 1 stride: 2"),
        (8, (128, 256), "kernel_size: 3"),
        (9, (128, 256), "kernel_size: 3"),
    ):
        yield from _conv(bottom, f"conv{stage}_1", widths[0], "kernel_size: 1")
        yield from _conv(f"conv{stage}_1", f"conv{stage}_2", widths[1], last)
        bottom = f"conv{stage}_2"


def _heads() -> Iterator[str]:
    for blob, least, most, step, ratios in HEADS:
        boxes = 2 + 2 * len(ratios)
        for kind, each in (("loc", 4), ("conf", CLASSES)):
            name = f"{blob}_{kind}"
            yield from _conv(blob, name, boxes * each, "kernel_size: 3 pad: 1", relu=False)
            order = "permute_param { order: 0 order: 2 order: 3 order: 1 }"
            yield _layer("Permute", name, f"{name}_perm", order)
            yield _layer("Flatten", f"{name}_perm", f"{name}_flat", "flatten_param { axis: 1 }")
        aspects = " ".join(f"aspect_ratio: {ratio}" for ratio in ratios)
        yield (
            f'layer {{ name: "{blob}_priors" type: "PriorBox" bottom: "{blob}" bottom: "data" '
            f'top: "{blob}_priors" prior_box_param {{ min_size: {least} max_size: {most} {aspects} '
            f"flip: true clip: false step: {step} offset: 0.5 "
            "variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }"
        )


def _end() -> str:
    parts = []
    for top, suffix, axis in (
        ("loc", "loc_flat", 1),
        ("conf", "conf_flat", 1),
        ("prior", "priors", 2),
    ):
        bottoms = " ".join(f'bottom: "{blob}_{suffix}"' for blob, *_ in HEADS)
        parts.append(
            f'layer {{ name: "{top}" type: "Concat" {bottoms} top: "{top}" '
            f"concat_param {{ axis: {axis} }} }}"
        )
    rows = f"reshape_param {{ shape {{ dim: 0 dim: -1 dim: {CLASSES} }} }}"
    parts += [
        _layer("Reshape", "conf", "conf_rows", rows),
        _layer("Softmax", "conf_rows", "conf_softmax", "softmax_param { axis: 2 }"),
        _layer("Flatten", "conf_softmax", "conf_softmax_flat", "flatten_param { axis: 1 }"),
        'layer { name: "detection_out" type: "DetectionOutput" bottom: "loc" '
        'bottom: "conf_softmax_flat" bottom: "prior" top: "detection_out" '
        f"detection_output_param {{ num_classes: {CLASSES} share_location: true "
        "background_label_id: 0 nms_param { nms_threshold: 0.45 top_k: 400 } "
        "code_type: CENTER_SIZE keep_top_k: 200 confidence_threshold: 0.01 } }",
    ]
    return "\n".join(parts)


def _conv(bottom: str, top: str, outputs: int, window: str, relu: bool = True) -> Iterator[str]:
    yield _layer(
        "Convolution",
        bottom,
        top,
        f'convolution_param {{ num_output: {outputs} {window} weight_filler {{ type: "msra" }} }}',
    )
    if relu:
        yield f'layer {{ name: "{top}_relu" type: "ReLU" bottom: "{top}" top: "{top}" }}'


def _layer(kind: str, bottom: str, top: str, param: str) -> str:
    return f'layer {{ name: "{top}" type: "{kind}" bottom: "{bottom}" top: "{top}" {param} }}'
