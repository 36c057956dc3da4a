"""Prototxts in small pieces, for the tests of slopes."""

from __future__ import annotations

INPUT = 'input: "data" input_shape { dim: 2 dim: 3 dim: 12 dim: 13 }\n'
NORMS = ("FAN_IN", "FAN_OUT", "AVERAGE")


def conv(name, bottom, *, outputs=4, norm="FAN_IN", kernel=3, a="", more=""):
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" '
        f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} "
        f'weight_filler {{ type: "msra" {a} variance_norm: {norm} }} }} {more} }}\n'
    )


def layer(type, bottoms, top, more="", name=""):
    named = " ".join(f'bottom: "{bottom}"' for bottom in bottoms.split())
    tops = " ".join(f'top: "{t}"' for t in top.split())
    return f'layer {{ name: "{name or type.lower()}" type: "{type}" {named} {tops} {more} }}\n'
