"""The nets that training is measured on."""

from __future__ import annotations

from typing import Any

SOLVER = """net: "%s" base_lr: 0.001 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005
max_iter: 100000 display: 0 snapshot_after_train: false random_seed: 1 solver_mode: CPU
"""
SHAPES = {
    "lenet": (1, 28, 28),
    "quick": (3, 32, 32),
    "caffenet": (3, 227, 227),
    "deep": (3, 32, 32),
}
CLASSES = {"lenet": 10, "quick": 10, "caffenet": 1000, "deep": 10}

# A layer a row: what it is, and its numbers. `conv` has outputs, kernel, stride, pad, groups;
# pools have kernel and stride; `fc` has outputs.
Row = tuple[Any, ...]
NETS: dict[str, list[Row]] = {
    "lenet": [
        ("conv", 20, 5), ("max", 2, 2), ("conv", 50, 5), ("max", 2, 2),
        ("fc", 500), ("relu",), ("fc", 10),
    ],
    "quick": [
        ("conv", 32, 5, 1, 2), ("max", 3, 2), ("relu",), ("conv", 32, 5, 1, 2), ("relu",),
        ("mean", 3, 2), ("conv", 64, 5, 1, 2), ("relu",), ("mean", 3, 2), ("fc", 64), ("fc", 10),
    ],
    "caffenet": [
        ("conv", 96, 11, 4), ("relu",), ("max", 3, 2), ("lrn",),
        ("conv", 256, 5, 1, 2, 2), ("relu",), ("max", 3, 2), ("lrn",),
        ("conv", 384, 3, 1, 1), ("relu",), ("conv", 384, 3, 1, 1, 2), ("relu",),
        ("conv", 256, 3, 1, 1, 2), ("relu",), ("max", 3, 2),
        ("fc", 4096), ("relu",), ("drop",), ("fc", 4096), ("relu",), ("drop",), ("fc", 1000),
    ],
    "deep": [
        *[("conv", 16, 3, 1, 1), ("prelu",)] * 7, ("max", 2, 2),
        *[("conv", 32, 3, 1, 1), ("prelu",)] * 6, ("max", 2, 2),
        *[("conv", 64, 3, 1, 1), ("prelu",)] * 6, ("max", 2, 2),
        ("fc", 256), ("prelu",), ("fc", 256), ("prelu",), ("fc", 10),
    ],
}  # fmt: skip


def prototxt(name: str, batch: int) -> str:
    """Return a net as Caffe reads it."""
    dims = " ".join(f"dim: {n}" for n in (batch, *SHAPES[name]))
    parts = [
        'layer { name: "in" type: "Input" top: "x" top: "label" input_param { '
        f"shape {{ {dims} }} shape {{ dim: {batch} }} }} }}"
    ]
    bottom = "x"
    for i, (kind, *numbers) in enumerate(NETS[name]):
        top = bottom if kind in ("relu", "prelu", "drop") else f"{kind}{i}"
        parts.append(
            f'layer {{ name: "{kind}{i}" type: "{_TYPES[kind]}" bottom: "{bottom}" top: "{top}" '
            f"{_param(kind, numbers)} }}"
        )
        bottom = top
    ends = f'bottom: "{bottom}" bottom: "label"'
    parts.append(f'layer {{ name: "loss" type: "SoftmaxWithLoss" {ends} top: "loss" }}')
    return "\n".join(parts)


_TYPES = {
    "conv": "Convolution", "fc": "InnerProduct", "max": "Pooling", "mean": "Pooling", "lrn": "LRN",
    "relu": "ReLU", "prelu": "PReLU", "drop": "Dropout",
}  # fmt: skip


def _param(kind: str, numbers: list[int]) -> str:
    multipliers = "param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }"
    if kind == "conv":
        outputs, kernel, stride, pad, group = (*numbers, *(1, 0, 1)[len(numbers) - 2 :])
        return (
            f"{multipliers} convolution_param {{ num_output: {outputs} kernel_size: {kernel} "
            f'stride: {stride} pad: {pad} group: {group} weight_filler {{ type: "msra" }} }}'
        )
    if kind == "fc":
        return (
            f"{multipliers} inner_product_param {{ num_output: {numbers[0]} "
            'weight_filler { type: "msra" } }'
        )
    if kind in ("max", "mean"):
        pool = "MAX" if kind == "max" else "AVE"
        return f"pooling_param {{ pool: {pool} kernel_size: {numbers[0]} stride: {numbers[1]} }}"
    return "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }" if kind == "lrn" else ""
