"""The pages that are made from the code are current, and the README's commands are real."""

from __future__ import annotations

import runpy
from pathlib import Path

from caffe_compat.layer import registry

DOCS = Path(__file__).parents[1] / "docs"
BVLC = """
AbsVal Accuracy ArgMax BatchNorm BatchReindex Bias BNLL Clip Concat ContrastiveLoss Convolution Crop
Data Deconvolution Dropout DummyData Eltwise ELU Embed EuclideanLoss Exp Filter Flatten HDF5Data
HDF5Output HingeLoss Im2col ImageData InfogainLoss InnerProduct Input Log LRN LSTM LSTMUnit MemoryData
MultinomialLogisticLoss MVN Parameter Pooling Power PReLU Python Reduction ReLU Reshape RNN Scale
Sigmoid SigmoidCrossEntropyLoss Silence Slice Softmax SoftmaxWithLoss Split SPP Swish TanH Threshold
Tile WindowData
""".split()


def test_every_type_of_bvlc_caffe_is_known():
    assert set(BVLC) <= set(registry())


def test_layers_page_is_current():
    page = runpy.run_path(str(DOCS / "make_layers.py"))["page"]()
    assert (DOCS / "layers.md").read_text() == page
    bvlc, forks = page.split("## Forks")
    for kind in BVLC:
        assert f"### {kind}\n" in bvlc or f"### {kind}," in bvlc
    for entry in forks.split("### ")[1:]:
        assert "- from: " in entry, entry.splitlines()[0]
