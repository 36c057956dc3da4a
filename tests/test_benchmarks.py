"""benchmarks/gpu.py: its counts and its table, and the whole script on the CPU's provider.

benchmarks/claims.py: each of the claims on few digits, with narrow nets and few iterations.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from caffe_compat.onnx.lowering import lower

from .cases import inline, make

NET = """
input: "data" input_shape { dim: 2 dim: 6 dim: 8 dim: 9 }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 4 kernel_h: 3 kernel_w: 2 group: 2 } }
layer { name: "d" type: "Deconvolution" bottom: "c" top: "d"
  convolution_param { num_output: 5 kernel_size: 2 stride: 2 } }
layer { name: "f" type: "InnerProduct" bottom: "d" top: "f" inner_product_param { num_output: 7 } }
"""


@pytest.fixture(scope="module")
def gpu():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
        import gpu

        yield gpu
    for name in ("gpu", "gpu_torch", "infer", "ssd300"):
        sys.modules.pop(name, None)


def test_count(gpu):
    # c is 2x4x6x8: 3 channels of a group by 3x2. d takes each of those to 5 channels by 2x2, and is
    # 2x5x12x16. f is 2x7, over 960.
    products = 384 * 3 * 6 + 384 * 5 * 4 + 14 * 960
    # Inputs, weights and outputs.
    values = (864 + 4 * 3 * 6 + 384) + (384 + 4 * 5 * 4 + 1920) + (1920 + 7 * 960 + 14)
    assert gpu.count(inline(lower(make(NET)))) == (2 * products, 4 * values)


def test_shares(gpu):
    # 10 ms from numpy to numpy, 8 on the card: 2 ms of transfer, which could take 1 + 0.5.
    times = gpu.Times(cpu=0.1, whole=0.010, bound=0.008)
    rates = gpu.Rates(matmul=1e12, conv=1e12, memory=1e11, up=1e9, down=2e9)
    shares = gpu.shares(times, gpu.Work(2 * 10**9, 4 * 10**8), rates, 10**6, 10**6)
    assert shares == pytest.approx((0.2, 0.25, 0.5, 0.75))
    row = " ".join(gpu.row("lenet", 2, times, shares).split())
    assert row == "lenet 2 50.000 ms 5.000 ms 10.0x 20% 25.0% 50.0% 75%"
    # On a busy machine the run without transfer can take longer than the one with it.
    shares = gpu.shares(times._replace(bound=0.011), gpu.Work(1, 1), rates, 1, 1)
    assert shares.host is None
    assert gpu.row("lenet", 2, times, shares).endswith("-")


def test_median(gpu):
    runs = []
    assert gpu.median(lambda: runs.append(0), 0) >= 0
    assert len(runs) == 4  # the first is not counted


def test_single(gpu):
    model = gpu.single("Neg", (2, 3), (2, 3))
    run = gpu.bind(model.SerializeToString(), gpu.devices("cpu")[0], {"x": np.ones((2, 3), "f")})
    assert run() is None
    assert gpu.count(model) == (0, 0)


def test_on_the_cpu(gpu, capsys):
    options = ["--device=cpu", "--nets=lenet", "--batches=1,3", "--size=128", "--seconds=0"]
    assert gpu.main(options) == 0
    rates, _, one, three = capsys.readouterr().out.splitlines()
    assert rates.startswith("cpu: MatMul ")
    assert one.split()[:2] == ["lenet", "1"]
    assert three.split()[:2] == ["lenet", "3"]


def test_beside_torch_on_the_cpu(gpu, capsys):
    torch = pytest.importorskip("torch")
    import gpu_torch

    flags = torch.backends.cudnn, torch.backends.cuda.matmul
    before = flags[0].benchmark, *(flag.allow_tf32 for flag in flags)
    try:
        options = ["--device=cpu", "--nets=lenet", "--batches=1,2", "--seconds=0", "--numpy"]
        assert gpu_torch.main(options) == 0
    finally:
        flags[0].benchmark, flags[0].allow_tf32, flags[1].allow_tf32 = before
    output = capsys.readouterr().out
    assert "fails" not in output
    rows = [line.split(" | ")[:3] for line in output.splitlines() if line.startswith("| lenet")]
    assert rows == [["| lenet", b, kind] for b in ("1", "2") for kind in ("fp32", "fp16")]


@pytest.mark.parametrize(
    ("claim", "rows", "picture"),
    [("depth", 4, "depth.png"), ("slopes", 4, "slopes_auto.png"), ("prelu", 3, "prelu.png")],
)
def test_claims(claim, rows, picture, tmp_path, monkeypatch, capsys):
    script = Path(__file__).parents[1] / "benchmarks" / "claims.py"
    options = ("--few", "--iterations", "10", "--width", "4", "--seeds", "2")
    monkeypatch.setattr(sys, "argv", ["claims.py", claim, *options, "--pictures", str(tmp_path)])
    runpy.run_path(str(script), run_name="__main__")
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(table) == rows + 2
    assert len({line.count("|") for line in table}) == 1
    assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
