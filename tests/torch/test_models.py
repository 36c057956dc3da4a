"""Real trained models as torch modules: what real Caffe computed with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import caffe_compat

from ..cases import GOLDEN, assert_close
from ..test_models import RECORDS, files_of


@pytest.mark.parametrize(("name", "record"), RECORDS)
def test_outputs(name, record):
    with np.load(GOLDEN / "models" / name / record) as io:
        feeds = {key[3:]: io[key] for key in io if key.startswith("in:")}
        wanted = {key[4:]: io[key] for key in io if key.startswith("out:")}
    inputs = {blob: array.shape for blob, array in feeds.items()}
    module = caffe_compat.to_torch(*files_of(name), inputs=inputs)
    if name == "hyperlpr_finemapping":  # recorded with OpenCV, by the layers' names
        nodes = module.origin.graph.nodes
        tops = {node.layer.name: node.tops[0].blob for node in nodes}
        wanted = {tops[layer]: array for layer, array in wanted.items()}
    with torch.no_grad():
        outputs = module(**{blob: torch.tensor(array) for blob, array in feeds.items()})
    if not isinstance(outputs, dict):
        outputs = {next(iter(wanted)): outputs}
    assert set(outputs) == set(wanted)
    for blob, want in wanted.items():
        axis = 2 if want.ndim == 3 else 1  # ultraface's boxes and scores are (images, boxes, ...)
        assert_close(outputs[blob].numpy(), want, 1e-5, blob, axis)
