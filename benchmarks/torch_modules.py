"""Time of `to_torch` modules beside modules by hand: CaffeNet, GoogLeNet, ResNet-50.

    python benchmarks/torch_modules.py [--nets caffenet,googlenet] [--batches 1,16] [--turns 9]

Forward in `eval()` under `no_grad`, and forward with backward (the parameters' gradients) in
`train()`. Both modules of a net have the same weights, and their outputs are compared first. They
take turns in one process on one thread, the first one changing; the ratio is the median of the
turns' own, since other work on the machine slows both sides of a turn. Status 1 where a ratio is
above 1.1.
"""

from __future__ import annotations

import argparse
import logging
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

import caffe_compat

GOAL = 1.1
GOLDEN = Path(__file__).parents[1] / "tests/golden/nets"


class CaffeNet(nn.Module):
    """BVLC's CaffeNet up to fc8."""

    PROTOTXT = "BVLC_caffe_models_bvlc_reference_caffenet_deploy"
    SIZE = 227

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 96, 11, 4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.LocalResponseNorm(5),
            nn.Conv2d(96, 256, 5, padding=2, groups=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.LocalResponseNorm(5),
            nn.Conv2d(256, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, 3, padding=1, groups=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1, groups=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Flatten(),
            nn.Linear(9216, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 1000),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        y: Tensor = self.layers(x)
        return y


def conv(before: int, after: int, kernel: int, **options: int) -> nn.Sequential:
    """Return a convolution with its ReLU."""
    return nn.Sequential(nn.Conv2d(before, after, kernel, **options), nn.ReLU(inplace=True))


class Inception(nn.Module):
    """Szegedy et al. 2015, figure 2b."""

    def __init__(self, before: int, *sizes: int) -> None:
        super().__init__()
        one, three_before, three, five_before, five, pool = sizes
        self.one = conv(before, one, 1)
        self.three = nn.Sequential(
            conv(before, three_before, 1), conv(three_before, three, 3, padding=1)
        )
        self.five = nn.Sequential(
            conv(before, five_before, 1), conv(five_before, five, 5, padding=2)
        )
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), conv(before, pool, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the four branches, one behind the other."""
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


class GoogLeNet(nn.Module):
    """BVLC's GoogLeNet up to its last classifier."""

    PROTOTXT = "BVLC_caffe_models_bvlc_googlenet_deploy"
    SIZE = 224

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv(3, 64, 7, stride=2, padding=3),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.LocalResponseNorm(5),
            conv(64, 64, 1),
            conv(64, 192, 3, padding=1),
            nn.LocalResponseNorm(5),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Inception(192, 64, 96, 128, 16, 32, 32),
            Inception(256, 128, 128, 192, 32, 96, 64),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Inception(480, 192, 96, 208, 16, 48, 64),
            Inception(512, 160, 112, 224, 24, 64, 64),
            Inception(512, 128, 128, 256, 24, 64, 64),
            Inception(512, 112, 144, 288, 32, 64, 64),
            Inception(528, 256, 160, 320, 32, 128, 128),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Inception(832, 256, 160, 320, 32, 128, 128),
            Inception(832, 384, 192, 384, 48, 128, 128),
            nn.AvgPool2d(7, 1),
            nn.Dropout(0.4),
            nn.Flatten(),
            nn.Linear(1024, 1000),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        y: Tensor = self.layers(x)
        return y


def normalized(
    before: int, after: int, kernel: int, *, bias: bool = False, **options: int
) -> nn.Sequential:
    """Return a convolution with its batch normalization."""
    own = nn.Conv2d(before, after, kernel, bias=bias, **options)
    return nn.Sequential(own, nn.BatchNorm2d(after))


class Bottleneck(nn.Module):
    """He et al. 2016, figure 5, with the stride in the first convolution, as theirs has it."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.shortcut = (
            normalized(before, 4 * width, 1, stride=stride)
            if stride > 1 or before != 4 * width
            else nn.Identity()
        )
        self.branch = nn.Sequential(
            normalized(before, width, 1, stride=stride),
            nn.ReLU(inplace=True),
            normalized(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            normalized(width, 4 * width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both ways."""
        return torch.relu_(self.shortcut(x) + self.branch(x))


class ResNet50(nn.Module):
    """He et al.'s ResNet-50 up to fc1000."""

    PROTOTXT = "KaimingHe_deep_residual_networks_prototxt_ResNet_50_deploy"
    SIZE = 224

    def __init__(self) -> None:
        super().__init__()
        blocks, before = [], 64
        for stage, count in enumerate((3, 4, 6, 3)):
            for i in range(count):
                blocks.append(Bottleneck(before, 64 << stage, 2 if stage and i == 0 else 1))
                before = 256 << stage
        self.layers = nn.Sequential(
            normalized(3, 64, 7, stride=2, padding=3, bias=True),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            *blocks,
            nn.AvgPool2d(7, 1),
            nn.Flatten(),
            nn.Linear(2048, 1000),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        y: Tensor = self.layers(x)
        return y


NETS = {"caffenet": CaffeNet, "googlenet": GoogLeNet, "resnet50": ResNet50}


def pair(name: str) -> dict[str, nn.Module]:
    """Return the module of a net's prototxt and the one by hand, with the same weights."""
    by_hand = NETS[name]()
    text = (GOLDEN / by_hand.PROTOTXT / "net.prototxt").read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.prototxt")  # BatchNorm learns in both
        path.write_text(re.sub(r"use_global_stats:\s*true", "", text), "utf-8")
        ours = caffe_compat.to_torch(path, logits=True, rng="fast")
    with torch.no_grad():
        for one, other in zip(ours.parameters(), by_hand.parameters(), strict=True):
            one.copy_(other)
        for part in ours.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_var.fill_(1)
    x = torch.randn(2, 3, by_hand.SIZE, by_hand.SIZE)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), by_hand.eval()(x), rtol=1e-4, atol=1e-4)
    return {"ours": ours, "by hand": by_hand}


def forward(module: nn.Module, x: Tensor) -> None:
    """Run forward alone."""
    with torch.no_grad():
        module(x)


def both(module: nn.Module, x: Tensor) -> None:
    """Run forward and backward, to the parameters."""
    module.zero_grad()
    module(x).square().mean().backward()


def measure(
    modules: Mapping[str, nn.Module],
    run: Callable[[nn.Module, Tensor], None],
    x: Tensor,
    turns: int,
) -> dict[str, list[float]]:
    """Return the times of each module over turns in which the first one changes."""
    times: dict[str, list[float]] = {side: [] for side in modules}
    for turn in range(turns + 1):
        for side in sorted(modules, reverse=bool(turn % 2)):
            start = time.perf_counter()
            run(modules[side], x)
            if turn:  # the first one warms up
                times[side].append(time.perf_counter() - start)
    return times


def main() -> int:
    """Print the table; the status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--tasks", default="forward,both")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("caffe_compat").setLevel(logging.ERROR)  # the weights come from the other
    missed = 0
    print(f"{'net':10} {'batch':>5} {'task':8} {'ours':>9} {'by hand':>9} {'ratio':>6}")
    for name in args.nets.split(","):
        modules = pair(name)
        for batch in map(int, args.batches.split(",")):
            x = torch.randn(batch, 3, NETS[name].SIZE, NETS[name].SIZE)
            for task in args.tasks.split(","):
                for module in modules.values():
                    module.train(task == "both")
                run = both if task == "both" else forward
                times = measure(modules, run, x, args.turns)
                pairs = zip(times["ours"], times["by hand"], strict=True)
                ratio = statistics.median(ours / other for ours, other in pairs)
                missed += ratio > GOAL
                ours, other = (f"{statistics.median(each) * 1e3:7.1f}ms" for each in times.values())
                print(f"{name:10} {batch:5} {task:8} {ours} {other} {ratio:6.2f}", flush=True)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
