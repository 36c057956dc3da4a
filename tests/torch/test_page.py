"""docs/pytorch.md: its examples run, and print what it shows."""

from __future__ import annotations

import re
import shutil

import torch

import caffe_compat

from ..cases import GOLDEN
from ..test_docs import DOCS, ROOT, assert_same


def write_net(folder, name, path):
    """A deploy net for images of 64x64, whose last pooling is as small, with random weights."""
    text = (GOLDEN / "nets" / path / "net.prototxt").read_text()
    text, pooled = re.subn(r"kernel_size: 7(\s+stride: 1)", r"kernel_size: 2\1", text)
    text, sized = re.subn(r"(dim: |input_dim: )224", r"\g<1>64", text)
    assert pooled == 1 and sized == 2
    (folder / f"{name}.prototxt").write_text(text)
    torch.manual_seed(1)
    module = caffe_compat.to_torch(folder / f"{name}.prototxt", rng="fast")
    for part in module.modules():
        if isinstance(part, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(part.weight)
        elif isinstance(part, torch.nn.BatchNorm2d):
            part.running_var.fill_(1)
            part.factor.fill_(1)
        elif hasattr(part, "scale"):
            torch.nn.init.constant_(part.scale, 0.5)
    caffe_compat.save(module, folder / f"{name}.caffemodel")


def copy_net(folder):
    """MTCNN's O-Net as the pages call it."""
    onet = ROOT / "examples/mtcnn/models/det3"
    shutil.copy(onet / "net.prototxt", folder)
    shutil.copy(onet / "weights.caffemodel", folder / "net.caffemodel")


def test_page(tmp_path, monkeypatch, capsys):
    write_net(tmp_path, "googlenet", "BVLC_caffe_models_bvlc_googlenet_deploy")
    write_net(tmp_path, "resnet50", "KaimingHe_deep_residual_networks_prototxt_ResNet_50_deploy")
    shutil.copy(ROOT / "examples/mtcnn/astronaut.png", tmp_path)
    copy_net(tmp_path)
    monkeypatch.chdir(tmp_path)
    names = {}
    page = (DOCS / "pytorch.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    assert len(blocks) >= 4
    for body in blocks:
        exec(compile(body, "pytorch.md", "exec"), names)
        shown = re.findall(r"^(?:print\(.*\)  )?# (.*)$", body, re.M)
        assert [*map(str.strip, capsys.readouterr().out.splitlines())] == shown
    assert (tmp_path / "tuned.caffemodel").stat().st_size > 100_000
    (excerpt,) = re.findall(r"^```py\n(.*?)^```", page, re.M | re.S)
    assert set(excerpt.splitlines()) <= set((tmp_path / "onet/model.py").read_text().splitlines())


def test_readme(tmp_path, monkeypatch, run):
    """The README's command for PyTorch prints what it shows."""
    copy_net(tmp_path)
    monkeypatch.chdir(tmp_path)
    section = (ROOT / "README.md").read_text("utf-8").split("## Take it to PyTorch")[1]
    command, *shown = re.findall(r"^    (.*)$", section.split("\n## ")[0], re.M)
    status, out, err = run(*command.removeprefix("caffe-compat ").split())
    assert status == 0, err
    assert_same(out + err, "".join(f"{line}\n" for line in shown))
