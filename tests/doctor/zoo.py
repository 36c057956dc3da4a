"""Thirty-odd nets in small: the published ones' structure, narrow and on small pictures.

Each takes `data` of 3 channels; all but the dense ones end in 10 classes. `benchmarks/verdicts.py`
records what signals and training make of them, and a test compares the doctor with that.
"""

from __future__ import annotations

from collections.abc import Callable

MSRA = 'type: "msra"'
XAVIER = 'type: "xavier"'
RELU, PRELU = 'type: "ReLU"', 'type: "PReLU" param { decay_mult: 0 }'


def gaussian(std):
    return f'type: "gaussian" std: {std:g}'


SMALL = gaussian(0.01)


class Pen:
    """Writes a net layer by layer; every method returns the top's name."""

    def __init__(self, name, size=16, channels=3, filler=MSRA, act=RELU):
        self.text = (
            f'name: "{name}" input: "data" '
            f"input_shape {{ dim: 4 dim: {channels} dim: {size} dim: {size} }}\n"
        )
        self.filler, self.act, self.count = filler, act, 0

    def layer(self, kind, *bottoms, more="", top="", name=""):
        self.count += 1
        name = name or f"{kind.lower()}{self.count}"
        below = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
        top = top or name
        self.text += f'layer {{ name: "{name}" type: "{kind}" {below} top: "{top}" {more} }}\n'
        return top

    def conv(self, bottom, outputs, kernel=3, stride=1, *, filler=None, more="", kind="", **names):
        pad = kernel // 2 if not kind else 0
        return self.layer(
            kind or "Convolution",
            bottom,
            more=f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} "
            f"stride: {stride} pad: {pad} weight_filler {{ {filler or self.filler} }} {more} }}",
            **names,
        )

    def fc(self, bottom, outputs=10, filler=None, more=""):
        return self.layer(
            "InnerProduct",
            bottom,
            more=f"inner_product_param {{ num_output: {outputs} "
            f"weight_filler {{ {filler or self.filler} }} {more} }}",
        )

    def act_(self, bottom):
        self.count += 1
        self.text += (
            f'layer {{ name: "act{self.count}" {self.act} bottom: "{bottom}" top: "{bottom}" }}\n'
        )
        return bottom

    def norm(self, bottom):
        """BatchNorm and Scale, as Caffe's users write them."""
        self.layer("BatchNorm", bottom, top=bottom)
        more = "scale_param { bias_term: true }"
        return self.layer("Scale", bottom, top=bottom, more=more)

    def pool(self, bottom, kind="MAX", kernel=2, stride=2):
        return self.layer(
            "Pooling",
            bottom,
            more=f"pooling_param {{ pool: {kind} kernel_size: {kernel} stride: {stride} }}",
        )

    def spread(self, bottom):
        """Average over the picture."""
        return self.layer(
            "Pooling", bottom, more="pooling_param { pool: AVE global_pooling: true }"
        )

    def add(self, *bottoms):
        return self.layer("Eltwise", *bottoms)

    def concat(self, *bottoms):
        return self.layer("Concat", *bottoms)


def plain(depth, filler=MSRA, act=RELU, *, norm=False, width=24, last=None, size=16):
    pen = Pen("plain", filler=filler, act=act, size=size)
    x = "data"
    for _ in range(depth - 1):
        x = pen.conv(x, width)
        x = pen.act_(pen.norm(x) if norm else x)
    pen.fc(pen.pool(x), filler=last)
    return pen.text


def vgg(blocks, filler=MSRA, head=SMALL):
    pen = Pen("vgg", filler=filler, size=32)
    x = "data"
    for width, count in zip((8, 16, 24, 32, 32), blocks, strict=True):
        for _ in range(count):
            x = pen.act_(pen.conv(x, width))
        x = pen.pool(x)
    for _ in range(2):
        x = pen.act_(pen.fc(x, 64))
    pen.fc(x, filler=head)
    return pen.text


def googlenet(filler=XAVIER, bias="bias_filler { value: 0.2 }", aux=True):
    pen = Pen("googlenet", filler=filler, size=32)

    def conv(x, n, k):
        return pen.act_(pen.conv(x, n, k, more=bias))

    x = pen.pool(conv(conv(conv("data", 12, 5), 12, 1), 24, 3))
    for i in range(9):
        mid = pen.layer(
            "Pooling", x, more="pooling_param { pool: MAX kernel_size: 3 stride: 1 pad: 1 }"
        )
        x = pen.concat(
            conv(x, 8, 1), conv(conv(x, 8, 1), 16, 3), conv(conv(x, 4, 1), 4, 5), conv(mid, 4, 1)
        )
        if aux and i in (2, 5):
            pen.fc(pen.act_(pen.fc(conv(pen.pool(x), 8, 1), 32)))
        if i in (1, 6):
            x = pen.pool(x)
    pen.fc(pen.spread(x))
    return pen.text


def resnet(
    blocks,
    *,
    norm=True,
    order="post",
    filler=MSRA,
    last=None,
    bottleneck=False,
    act=RELU,
    size=16,
    width=8,
    head=None,
):
    """A ResNet of three stages of basic or bottleneck blocks, as for CIFAR (He et al. 2016)."""
    pen = Pen("resnet", filler=filler, act=act, size=size)

    def maybe(x):
        return pen.norm(x) if norm else x

    def pre(x):
        """BatchNorm and ReLU beside the trunk, which stays."""
        if norm:
            x = pen.layer(
                "Scale", pen.layer("BatchNorm", x), more="scale_param { bias_term: true }"
            )
        pen.count += 1
        name = f"act{pen.count}"
        pen.text += f'layer {{ name: "{name}" {act} bottom: "{x}" top: "{name}" }}\n'
        return name

    x = pen.conv("data", width)
    x = pen.act_(maybe(x)) if order == "post" else x
    for stage in range(3):
        for block in range(blocks):
            n, stride = width << stage, 2 if stage and not block else 1
            outputs = 2 * n if bottleneck else n
            kernels = (
                ((n, 1, stride), (n, 3, 1), (outputs, 1, 1))
                if bottleneck
                else ((n, 3, stride), (n, 3, 1))
            )
            y = pre(x) if order == "pre" else x
            project = stride > 1 or (bottleneck and not block)
            short = x
            if project:
                short = pen.conv(y, outputs, 1, stride)
                short = maybe(short) if order == "post" else short
            for i, (n_out, kernel, step) in enumerate(kernels):
                end = i == len(kernels) - 1
                y = pen.conv(y, n_out, kernel, step, filler=last if end else None)
                if order == "post":
                    y = maybe(y)
                    y = y if end else pen.act_(y)
                elif not end:
                    y = pre(y)
            x = pen.add(short, y)
            x = pen.act_(x) if order == "post" else x
    x = pre(x) if order == "pre" else x
    pen.fc(pen.spread(x), filler=head)
    return pen.text


def senet(blocks=6):
    pen = Pen("senet", size=16)
    x = pen.act_(pen.norm(pen.conv("data", 16)))
    for _ in range(blocks):
        y = pen.norm(pen.conv(pen.act_(pen.norm(pen.conv(x, 16))), 16))
        gate = pen.fc(pen.act_(pen.fc(pen.spread(y), 4)), 16)
        gate = pen.layer("Sigmoid", gate)
        y = pen.layer("Scale", y, gate, more="scale_param { axis: 0 }")
        x = pen.act_(pen.add(x, y))
    pen.fc(pen.spread(x))
    return pen.text


def densenet(norm=True, layers=6, growth=8):
    pen = Pen("densenet", size=16)
    x = pen.conv("data", 2 * growth)

    def conv(x, n, k):
        if norm:
            x = pen.layer(
                "Scale", pen.layer("BatchNorm", x), more="scale_param { bias_term: true }"
            )
        pen.count += 1
        name = f"relu{pen.count}"
        pen.layer("ReLU", x, name=name)
        return pen.conv(name, n, k)

    width = 2 * growth
    for block in range(3):
        for _ in range(layers):
            x = pen.concat(x, conv(conv(x, 2 * growth, 1), growth, 3))
            width += growth
        if block < 2:
            width //= 2
            x = pen.pool(conv(x, width, 1), "AVE")
    pen.fc(pen.spread(pen.layer("ReLU", x)))
    return pen.text


def squeezenet(last=SMALL):
    pen = Pen("squeezenet", filler=XAVIER, size=32)
    x = pen.pool(pen.act_(pen.conv("data", 16, 3, 1)))
    for i, n in enumerate((4, 4, 8, 8, 12, 12, 16, 16)):
        s = pen.act_(pen.conv(x, n, 1))
        x = pen.concat(pen.act_(pen.conv(s, 2 * n, 1)), pen.act_(pen.conv(s, 2 * n, 3)))
        if i in (2, 6):
            x = pen.pool(x)
    pen.spread(pen.act_(pen.conv(x, 10, 1, filler=last)))
    return pen.text


def mobilenet(norm=True):
    pen = Pen("mobilenet", size=32)

    def unit(x, n, k, s=1, more=""):
        x = pen.conv(x, n, k, s, more=more)
        return pen.act_(pen.norm(x) if norm else x)

    x, width = unit("data", 16, 3, 2), 16
    for n, s in ((16, 1), (24, 2), (24, 1), (32, 2), *[(32, 1)] * 6, (48, 2), (48, 1)):
        x = unit(unit(x, width, 3, s, f"group: {width}"), n, 1)
        width = n
    pen.fc(pen.spread(x))
    return pen.text


def enet():
    """Bottlenecks with PReLU and BatchNorm, an encoder and a decoder, a class for each pixel."""
    pen = Pen("enet", size=32, act=PRELU)
    x = pen.concat(pen.conv("data", 13, 3, 2), pen.pool("data"))
    x = pen.act_(pen.norm(x))

    def unit(x, n, dilation=1):
        y = pen.act_(pen.norm(pen.conv(x, n // 4, 1, more="bias_term: false")))
        y = pen.layer(
            "Convolution",
            y,
            more=f"convolution_param {{ num_output: {n // 4} kernel_size: 3 pad: {dilation} "
            f"dilation: {dilation} weight_filler {{ {MSRA} }} }}",
        )
        y = pen.act_(pen.norm(y))
        y = pen.norm(pen.conv(y, n, 1, more="bias_term: false"))
        return pen.act_(pen.add(x, y))

    for dilation in (1, 1, 2, 4, 1, 2, 4):
        x = unit(x, 16, dilation)
    up = pen.conv(x, 16, 2, 2, kind="Deconvolution", more="bias_term: false")
    x = unit(pen.act_(pen.norm(up)), 16)
    pen.conv(x, 2, 1)
    return pen.text


def sphereface(units, filler=SMALL):
    """xavier at each stage's start, and blocks of two PReLU layers that are added."""
    pen = Pen("sphereface", filler=filler, act=PRELU, size=32)
    x = "data"
    for n, blocks in zip((8, 16, 32, 64), units, strict=True):
        x = pen.act_(pen.conv(x, n, 3, 2, filler=XAVIER))
        for _ in range(blocks):
            y = pen.act_(pen.conv(pen.act_(pen.conv(x, n)), n))
            x = pen.add(x, y)
    pen.fc(pen.fc(x, 64, filler=XAVIER), filler=XAVIER)
    return pen.text


def mtcnn():
    pen = Pen("mtcnn", filler=XAVIER, act='type: "PReLU"', size=24)
    x = pen.pool(pen.act_(pen.conv("data", 14)), kernel=3)
    x = pen.pool(pen.act_(pen.conv(x, 24)), kernel=3)
    x = pen.act_(pen.fc(pen.act_(pen.conv(x, 32, 1)), 64))
    pen.fc(x)
    pen.fc(x)
    return pen.text


def unet(filler=MSRA):
    pen = Pen("unet", filler=filler, size=16)

    def twice(x, n):
        return pen.act_(pen.conv(pen.act_(pen.conv(x, n)), n))

    a = twice("data", 8)
    b = twice(pen.pool(a), 16)
    c = twice(pen.pool(b), 32)
    up = pen.conv(c, 16, 2, 2, kind="Deconvolution")
    b = twice(pen.concat(up, b), 16)
    up = pen.conv(b, 8, 2, 2, kind="Deconvolution")
    pen.conv(twice(pen.concat(up, a), 8), 2, 1)
    return pen.text


def fcn():
    """Scores of two depths, upsampled by bilinear kernels and added."""
    pen = Pen("fcn", size=16)
    x = pen.pool(pen.act_(pen.conv(pen.act_(pen.conv("data", 8)), 8)))
    side = pen.conv(x, 2, 1, filler='type: "constant"')
    for _ in range(3):
        x = pen.act_(pen.conv(x, 16))
    score = pen.conv(pen.pool(x), 2, 1, filler=gaussian(0.01))
    bilinear = "bias_term: false group: 2"
    up = pen.conv(score, 2, 2, 2, kind="Deconvolution", filler='type: "bilinear"', more=bilinear)
    both = pen.add(side, up)
    pen.conv(both, 2, 2, 2, kind="Deconvolution", filler='type: "bilinear"', more=bilinear)
    return pen.text


def shared(depth=12):
    """One layer's weights in every place."""
    pen = Pen("shared", size=8)
    x = pen.act_(pen.conv("data", 16))
    for _ in range(depth):
        x = pen.act_(
            pen.layer(
                "Convolution",
                x,
                more='param { name: "w" } param { name: "b" } convolution_param { num_output: 16 '
                f"kernel_size: 3 pad: 1 weight_filler {{ {MSRA} }} }}",
            )
        )
    pen.fc(pen.pool(x))
    return pen.text


NETS: dict[str, Callable[[], str]] = {
    "plain-22 msra": lambda: plain(22),
    "plain-22 xavier": lambda: plain(22, XAVIER),
    "plain-30 msra": lambda: plain(30),
    "plain-30 xavier": lambda: plain(30, XAVIER),
    "plain-30 msra, PReLU": lambda: plain(30, 'type: "msra" a: 0.25', PRELU),
    "plain-30 gaussian 0.01": lambda: plain(30, gaussian(0.01)),
    "plain-30 gaussian 0.01, BatchNorm": lambda: plain(30, gaussian(0.01), norm=True),
    "VGG-16 msra": lambda: vgg((2, 2, 3, 3, 3)),
    "VGG-16 gaussian 0.01": lambda: vgg((2, 2, 3, 3, 3), gaussian(0.01)),
    "VGG-19 msra": lambda: vgg((2, 2, 4, 4, 4)),
    "GoogLeNet": googlenet,
    "ResNet-20": lambda: resnet(3),
    "ResNet-56": lambda: resnet(9),
    "ResNet-56, pre-activation": lambda: resnet(9, order="pre"),
    "ResNet-56 bottleneck": lambda: resnet(6, bottleneck=True),
    "ResNet-20 without BatchNorm": lambda: resnet(3, norm=False),
    "ResNet-56 without BatchNorm": lambda: resnet(9, norm=False),
    "ResNet-56 without BatchNorm, pre-activation": lambda: resnet(9, norm=False, order="pre"),
    "ResNet-56 without BatchNorm, branches end in 0": lambda: resnet(
        9, norm=False, last='type: "constant"'
    ),
    "ResNet-56 without BatchNorm, gaussian 0.01": lambda: resnet(
        9, norm=False, last=gaussian(0.01)
    ),
    "SENet": senet,
    "DenseNet": densenet,
    "DenseNet without BatchNorm": lambda: densenet(norm=False),
    "SqueezeNet": squeezenet,
    "MobileNet": mobilenet,
    "ENet": enet,
    "SphereFace-20": lambda: sphereface((1, 2, 4, 1)),
    "SphereFace-64": lambda: sphereface((3, 8, 16, 3)),
    "SphereFace-64 msra": lambda: sphereface((3, 8, 16, 3), 'type: "msra" a: 0.25'),
    "MTCNN": mtcnn,
    "U-Net": unet,
    "FCN": fcn,
    "shared weights": shared,
    "last layer 0": lambda: plain(22, last='type: "constant"'),
    "sick: all weights 0": lambda: plain(12, 'type: "constant"'),
    "sick: gaussian 0.3": lambda: plain(16, gaussian(0.3)),
    "sick: biases of -20": lambda: plain(12).replace(
        "weight_filler", "bias_filler { value: -20 } weight_filler"
    ),
    "sick: PReLU of 2": lambda: plain(
        30, MSRA, 'type: "PReLU" prelu_param { filler { value: 2 } }'
    ),
    "sick: sigmoids": lambda: plain(22, XAVIER, 'type: "Sigmoid"'),
}
"""The nets by name."""

DENSE = {"ENet", "U-Net", "FCN"}
"""Those with a class for each pixel."""
