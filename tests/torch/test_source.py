"""Modules as Python source: what it computes without this package, and what names cannot do."""

from __future__ import annotations

import ast
import subprocess
import sys

import numpy as np
import pytest
import torch

import caffe_compat
from caffe_compat.errors import CaffeCompatError, UnsupportedError
from caffe_compat.torch import build, to_torch, write_source
from caffe_compat.torch.source import render

from ..cases import GOLDEN, assert_close, feed, load, make, one_layer
from ..test_models import RECORDS, files_of
from .agreement import outputs_of
from .test_golden import CASES
from .test_names import AWKWARD, chain

# Runs each folder's model.py on the inputs beside it; caffe_compat cannot be imported.
ELSEWHERE = """
import sys
sys.modules["caffe_compat"] = None
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
import torch
torch.set_num_threads(1)
for folder in sorted(Path(sys.argv[1]).iterdir()):
    spec = spec_from_file_location("model", folder / "model.py")
    model = module_from_spec(spec)
    spec.loader.exec_module(model)
    with torch.no_grad():
        outputs = model.load()(*torch.load(folder / "inputs.pt"))
    torch.save(outputs if isinstance(outputs, dict) else {"": outputs}, folder / "outputs.pt")
    print(folder.name)
"""


def run_elsewhere(folder):
    """The outputs of all the sources in a folder, by the names of their folders."""
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {name: torch.load(folder / name / "outputs.pt") for name in done.stdout.split()}


def assert_formatted(folder):
    """`ruff format` leaves the sources as they are, whatever this project has set."""
    pytest.importorskip("ruff")
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def assert_outputs(outputs, io, *, whole=False):
    """What real code computed, where an output is one of several or the only one.

    whole: compare with the largest value of all channels.
    """
    wanted = {key[4:]: array for key, array in io.items() if key.startswith("out:")}
    if [*outputs] == [""]:
        outputs = {next(iter(wanted)): outputs[""]}
    for blob, want in wanted.items():
        axis = None if whole else 2 if want.ndim == 3 else 1
        assert_close(outputs[blob].numpy(), want, 1e-5, blob, axis)


def test_the_golden_cases(tmp_path):
    records = {}
    for (folder,) in (case.values for case in CASES):
        net, io = load(folder)
        module = build(net, outputs_of(net))
        try:
            write_source(module, tmp_path / folder.name)
        except UnsupportedError as error:
            assert "layers that run in numpy cannot leave Python" in str(error)
            assert folder.parent.name == "layers_forks"
            continue
        shapes = {value.blob: value.shape for value in net.graph.inputs}
        feeds = [
            torch.tensor(io.get(f"in:{blob}", np.zeros(shapes[blob], np.float32)))
            for blob in module.names.inputs.values()
        ]
        torch.save(feeds, tmp_path / folder.name / "inputs.pt")
        records[folder.name] = io
    assert_formatted(tmp_path)
    outputs = run_elsewhere(tmp_path)
    assert outputs.keys() == records.keys() and len(records) >= 262
    for name, io in records.items():
        assert_outputs(outputs[name], io, whole=(GOLDEN / "layers_forks" / name).exists())


def test_the_models(tmp_path):
    records = {}
    for name, record in RECORDS:
        with np.load(GOLDEN / "models" / name / record) as io:
            arrays = dict(io)
        feeds = {key[3:]: array for key, array in arrays.items() if key.startswith("in:")}
        inputs = {blob: array.shape for blob, array in feeds.items()}
        module = to_torch(*files_of(name), inputs=inputs)
        if name == "hyperlpr_finemapping":  # recorded with OpenCV, by the layers' names
            nodes = module.origin.graph.nodes
            tops = {node.layer.name: node.tops[0].blob for node in nodes}
            arrays = {f"out:{tops[k[4:]]}": a for k, a in arrays.items() if k.startswith("out:")}
        folder = tmp_path / f"{name}-{record.removesuffix('.npz')}"
        write_source(module, folder)
        tensors = [torch.tensor(feeds[blob]) for blob in module.names.inputs.values()]
        torch.save(tensors, folder / "inputs.pt")
        records[folder.name] = arrays
    assert_formatted(tmp_path)
    outputs = run_elsewhere(tmp_path)
    assert outputs.keys() == records.keys()
    for name, io in records.items():
        assert_outputs(outputs[name], io)


FORKS = {
    "CenternetDetectionOutput": (
        "detection_output_param { num_classes: 3 confidence_threshold: 0.3 nms_thresh: 0.2 }",
        (1, 4, 5, 6),
        (1, 2, 5, 6),
    ),
    "ROIWarping": ("roi_warping_param { pooled_h: 3 pooled_w: 4 }", (2, 3, 7, 9), (3, 5)),
    "MaskResize": ("mask_resize_param { output_height: 7 output_width: 4 }", (2, 3, 5, 6)),
}


def test_layers_of_forks(tmp_path):
    """A loop of one result, and layers whose gradients are their fork's."""
    wanted = {}
    for kind, (param, *shapes) in FORKS.items():
        net = make(one_layer(f'type: "{kind}" {param}', *shapes))
        feeds = feed(net)
        if kind == "ROIWarping":
            feeds["b"] = np.abs(feeds["b"]) * np.float32([0, 1, 1, 3, 3])
        write_source(build(net, outputs_of(net)), tmp_path / kind)
        torch.save([torch.tensor(each) for each in feeds.values()], tmp_path / kind / "inputs.pt")
        wanted[kind] = net.forward(feeds)["y"]
    assert_formatted(tmp_path)
    for kind, outputs in run_elsewhere(tmp_path).items():
        (got,) = outputs.values()
        assert_close(got.numpy(), wanted.pop(kind), 1e-5, kind, None)
    assert not wanted


def run_here(module, folder):
    """The source's namespace."""
    write_source(module, folder)
    names = {"__file__": str(folder / "model.py"), "__name__": "model"}
    exec(compile((folder / "model.py").read_text(), "model.py", "exec"), names)
    return names


NET = """
name: "small"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 3 dim: 9 dim: 8 } } }
layer { name: "conv/1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 3 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer { name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "drop1" type: "Dropout" bottom: "conv1" top: "conv1" }
layer { name: "fc1" type: "InnerProduct" bottom: "conv1" top: "fc1" param { name: "w" lr_mult: 0 }
  inner_product_param { num_output: 48 weight_filler { type: "xavier" } } }
layer { name: "fc2" type: "InnerProduct" bottom: "fc1" top: "fc2" param { name: "w" }
  inner_product_param { num_output: 48 weight_filler { type: "xavier" } } }
"""
READS = """\
        self.conv_1 = nn.Conv2d(3, 4, 3, stride=2)
        self.bn1 = BatchNorm(4, 1e-05, 0.999)
        self.scale1 = ScaleLayer(scale=(4,), bias=(4,))
        self.relu1 = nn.ReLU(inplace=True)
        self.drop1 = nn.Dropout()
        self.fc1 = nn.Linear(48, 48)
        self.fc2 = nn.Linear(48, 48)
        self.fc1.weight.requires_grad_(False)
        self.fc2.weight = self.fc1.weight

    def forward(self, data: Tensor) -> Tensor:
        conv1 = self.conv_1(data)
        conv1_scale1 = self.bn1(conv1, self.scale1.scale, self.scale1.bias)
"""


def test_reads_like_the_prototxt_and_trains(tmp_path):
    module = to_torch(make(NET)).train()
    names = run_here(module, tmp_path / "small")
    text = (tmp_path / "small/model.py").read_text()
    for line in READS.splitlines()[:12]:
        assert line in text.splitlines(), line
    assert names["LAYERS"] == {"conv_1": "conv/1"}
    net = names["load"]()
    assert isinstance(net, names["small"]) and not net.training
    assert net.fc1.weight is net.fc2.weight and not net.fc1.weight.requires_grad
    x = torch.randn(2, 3, 9, 8)
    for one, other in zip(net.train().parameters(), module.parameters(), strict=True):
        assert torch.equal(one, other)
    results = []
    for each in (module, net):
        torch.manual_seed(3)
        each(x).sum().backward()
        results.append((each(x), *(p.grad for p in each.parameters() if p.requires_grad)))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*results, strict=True))
    assert torch.allclose(module.eval()(x), net.eval()(x), atol=1e-6)


HOSTILE = [
    '"); import os; os.abort(); ("', "x\nimport os\nos.abort()", "'''", '"""', "\\", "{0}", "#",
    "load", "Path", "torch", "Net", "__init__", "print", "None", "BatchNorm", "a" * 300, "\u202e",
    "$(reboot)", "\0", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
]  # fmt: skip


@pytest.mark.parametrize("names", [AWKWARD, HOSTILE], ids=["awkward", "hostile"])
def test_no_name_is_code(names, tmp_path):
    names = [name for name in names if "\0" not in name]
    net = chain(names)
    net.graph.net.name = names[0]
    module = to_torch(net, blobs=[value.blob for value in [*net.graph.values][1:-1]])
    source = run_here(module, tmp_path / "net")
    assert_formatted(tmp_path)
    text = (tmp_path / "net/model.py").read_text()
    assert text.isascii()
    x = torch.randn(2, 3)
    outputs = source["load"]()(x)
    for blob, tensor in module(x).items():
        assert torch.allclose(outputs[blob], tensor, atol=1e-6), blob
    assert [*outputs] == [*module(x)]
    allowed = {"torch", "nn", "self", "load_file", "Path", "F", "str", "super", "dict"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            what = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            assert what.partition(".")[0] in ("__future__", "pathlib", "torch", "safetensors")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id in allowed | {type(source["load"]()).__name__}


def test_other_dtypes_stay(tmp_path):
    module = to_torch(make(NET), dtype=torch.float64)
    net = run_here(module, tmp_path / "net")["load"]()
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    assert torch.equal(net(x), module(x))


def test_a_layer_that_differs_in_training_says_so(tmp_path):
    text = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "r" type: "RReLU" bottom: "x" top: "y" }
"""
    net = run_here(to_torch(make(text)), tmp_path / "net")["load"]()
    assert net(-torch.ones(2, 3)).shape == (2, 3)
    with pytest.raises(NotImplementedError, match=r"caffe_compat\.to_torch"):
        net.train()(torch.ones(2, 3))


def test_refused_by_name_and_nothing_is_written(tmp_path):
    class SquareSource(caffe_compat.Layer):
        """x x."""

        def forward(self, x):
            return x * x

    caffe_compat.layer()(SquareSource)
    text = NET + 'layer { name: "sq" type: "SquareSource" bottom: "fc2" top: "z" }'
    with pytest.raises(UnsupportedError, match=r"run in numpy.*'sq'"):
        write_source(to_torch(make(text)), tmp_path / "net")
    module = to_torch(make(NET))
    module.fc2 = type("Mine", (torch.nn.Linear,), {})(48, 4)
    with pytest.raises(UnsupportedError, match="'fc2': Mine is no module of torch's"):
        write_source(module, tmp_path / "net")
    with pytest.raises(CaffeCompatError, match="none/net: cannot be written: No such file"):
        write_source(to_torch(make(NET)), tmp_path / "none/net")
    (tmp_path / "file").touch()
    with pytest.raises(CaffeCompatError, match="file: cannot be written: File exists"):
        write_source(to_torch(make(NET)), tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_same_layer_at_other_sizes_is_one_class():
    text = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "scale1" type: "Scale" bottom: "x" top: "a" scale_param { bias_term: true } }
layer { name: "fc" type: "InnerProduct" bottom: "a" top: "fc"
  inner_product_param { num_output: 5 } }
layer { name: "scale2" type: "Scale" bottom: "fc" top: "b" scale_param { bias_term: true } }
"""
    source, tensors = render(to_torch(make(text)))
    assert source.count("(nn.Module)") == 2
    assert "self.scale2 = ScaleLayer(scale=(5,), bias=(5,))" in source
    assert [*tensors][:2] == ["scale1.scale", "scale1.bias"]


def test_command(run, tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    command = ("convert", tmp_path / "net.prototxt", "-o", tmp_path / "net")
    status, out, err = run(*command, "--as", "torch-source", "--verify")
    assert status == 0, err
    assert "model.py" in out and "model.safetensors" in out
    assert "verified: " in out and "numpy and torch agree" in out
    status, out, err = run(*command, "--as", "torch-source", "--fp16")
    assert status == 2 and "--fp16" in err
    command = (*command[:-1], tmp_path / "net.onnx", "--as", "torch-source")
    status, out, err = run(*command)
    assert status == 2 and "writes a directory" in err


def test_dropout_that_draws_in_evaluation_too(tmp_path):
    body = 'type: "Dropout" dropout_param { dropout_ratio: 0.25 sample_weights_test: true }'
    write_source(to_torch(make(one_layer(body, (4, 8, 30, 30)))), tmp_path / "net")
    torch.save((torch.ones(4, 8, 30, 30),), tmp_path / "net" / "inputs.pt")
    (dropped,) = run_elsewhere(tmp_path)["net"].values()
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert dropped.max().item() == pytest.approx(1 / 0.75)
    assert_formatted(tmp_path)
