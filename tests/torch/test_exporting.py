"""Modules as files: .pt2 where this package is not installed, and .safetensors."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import caffe_compat
from caffe_compat.errors import CaffeCompatError, UnsupportedError
from caffe_compat.layers.families.dense import InnerProduct
from caffe_compat.torch import export, to_torch
from caffe_compat.torch.exporting import NAMES

from ..cases import GOLDEN, REPORTS, make
from ..test_models import RECORDS, files_of

# Runs each .pt2 on its input, and says where it is off; caffe_compat cannot be imported.
ELSEWHERE = """
import sys
sys.modules["caffe_compat"] = None
from pathlib import Path
import torch
for path in sorted(Path(sys.argv[1]).glob("*.pt2")):
    inputs, want = torch.load(path.with_suffix(".pt"))
    module = torch.export.load(path).module()
    with torch.no_grad():
        got = module(*inputs)
    got = got if isinstance(got, dict) else {"": got}
    for blob, tensor in want.items():
        scale = tensor.abs().max()
        assert (got[blob] - tensor).abs().max() <= 1e-5 * scale, (path, blob)
    print(path.stem)
"""


def test_the_models_run_without_this_package(tmp_path):
    for name, record in RECORDS:
        with np.load(GOLDEN / "models" / name / record) as io:
            feeds = {key[3:]: io[key] for key in io if key.startswith("in:")}
        shapes = {blob: array.shape for blob, array in feeds.items()}
        module = to_torch(*files_of(name), inputs=shapes)
        inputs = [torch.tensor(feeds[blob]) for blob in module.names.inputs.values()]
        with torch.no_grad():
            want = module(*inputs)
        path = tmp_path / f"{name}-{record.removesuffix('.npz')}.pt2"
        export(module, path)
        torch.save(
            (inputs, want if isinstance(want, dict) else {"": want}), path.with_suffix(".pt")
        )
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, tmp_path],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == len(RECORDS)


NET = """
layer { name: "x" type: "Input" top: "data:0" input_param { shape { dim: 1 dim: 3 } } }
layer { name: "fc.1" type: "InnerProduct" bottom: "data:0" top: "y"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "y" top: "y" }
"""


def test_any_batch_and_caffes_names(tmp_path):
    module = to_torch(make(NET)).train()
    export(module, tmp_path / "net.pt2")
    assert module.training
    extra = {NAMES: ""}
    program = torch.export.load(tmp_path / "net.pt2", extra_files=extra)
    for batch in (1, 2, 7):
        x = torch.randn(batch, 3)
        assert torch.equal(program.module()(x), module.eval()(x))
    names = json.loads(extra[NAMES])
    assert names["inputs"] == {"data_0": "data:0"}
    assert names["params"]["fc_1.weight"] == ["fc.1", 0]


def test_weights_alone(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    module = to_torch(make(NET))
    export(module, tmp_path / "net.safetensors")
    again = to_torch(make(NET.replace("xavier", "constant")))
    again.load_state_dict(safetensors.load_file(tmp_path / "net.safetensors"), strict=True)
    x = torch.randn(2, 3)
    assert torch.equal(again(x), module(x))


def test_a_layer_in_numpy_stays_in_python(tmp_path):
    class SquareExported(caffe_compat.Layer):
        """x x."""

        def forward(self, x):
            return x * x

    caffe_compat.layer()(SquareExported)
    text = NET + 'layer { name: "sq" type: "SquareExported" bottom: "y" top: "z" }'
    with pytest.raises(UnsupportedError, match="numpy cannot leave Python: 'sq'"):
        export(to_torch(make(text)), tmp_path / "net.pt2")
    with pytest.raises(CaffeCompatError, match="ends in neither"):
        export(to_torch(make(NET)), tmp_path / "net.bin")
    assert not list(tmp_path.iterdir())


FULL = """
import resource
import sys
import tempfile

import caffe_compat
from caffe_compat.errors import CaffeCompatError
from caffe_compat.torch import export, to_torch

module = to_torch(caffe_compat.load("net.prototxt"))
tempfile.gettempdir()  # torch.export looks for it, by writing
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
for name in ("net.pt2", "net.safetensors"):
    try:
        export(module, name)
    except CaffeCompatError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
def test_a_full_disk(tmp_path):
    """torch's own writer aborts the process."""
    (tmp_path / "net.prototxt").write_text(NET)
    command = [sys.executable, "-c", FULL, "100"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "net.pt2: cannot be written: File too large"
    assert second.startswith("net.safetensors: cannot be written: ")
    assert [path.name for path in tmp_path.iterdir()] == ["net.prototxt"]


SSD = """
input: "l" input_shape { dim: 1 dim: 8 }
input: "c" input_shape { dim: 1 dim: 4 }
input: "p" input_shape { dim: 1 dim: 2 dim: 8 }
layer { name: "boxes" type: "DetectionOutput" bottom: "l" bottom: "c" bottom: "p" top: "d"
        detection_output_param { num_classes: 2 keep_top_k: 5 nms_param { top_k: 9 } } }
"""


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("2.6.0+cpu", r"2.6.0\+cpu cannot export DetectionOutput \('boxes'\); PyTorch 2.8 and"),
        ("2.13.0", "torch.export: no such guard"),
    ],
)
def test_a_torch_that_cannot_export_detections(tmp_path, monkeypatch, version, words):
    def fail(*args, **options):
        raise RuntimeError("no such guard")

    monkeypatch.setattr(torch.export, "export", fail)
    monkeypatch.setattr(torch, "__version__", version)
    with pytest.raises(UnsupportedError, match=words):
        export(to_torch(make(SSD)), tmp_path / "net.pt2")
    assert not list(tmp_path.iterdir())


def test_command(run, tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    status, out, err = run(
        "convert", tmp_path / "net.prototxt", "-o", tmp_path / "net.pt2", "--verify"
    )
    assert status == 0, err
    assert f"{tmp_path / 'net.pt2'}" in out and "verified" in out
    program = torch.export.load(tmp_path / "net.pt2").module()
    assert program(torch.ones(5, 3)).shape == (5, 4)


def test_verify_takes_each_layer_by_itself(run, tmp_path):
    """A near tie in the MAX pool's mask counts neither behind it nor at the net's end."""
    net = REPORTS / "03_verify_exit" / "net.prototxt"
    arguments = ("convert", net, "-o", tmp_path / "net.pt2", "--seed", 3, "--verify")
    status, out, _ = run(*arguments)
    assert status == 0
    assert "numpy and torch agree on 6 blobs" in out


def test_verify_has_a_status(run, tmp_path, monkeypatch):
    (tmp_path / "net.prototxt").write_text(NET)
    monkeypatch.setattr(InnerProduct, "forward", lambda self, x, weight, bias: x @ weight.T + 1)
    status, out, _ = run(
        "convert", tmp_path / "net.prototxt", "-o", tmp_path / "net.pt2", "--verify"
    )
    assert status == 1
    assert "NOT verified: numpy and torch differ in layer " in out
