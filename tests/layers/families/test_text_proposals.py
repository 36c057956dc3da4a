"""CTPN's and SSH's proposals, whose numbers are recorded in golden/layers_forks."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import check_both, make, one_layer


def text(module, param, *shapes):
    body = f'module: "{module}" layer: "ProposalLayer" param_str: "{param}"'
    return one_layer(f'type: "Python" python_param {{ {body} }}', *shapes, top=["y", "z"])


def ctpn(param="'feat_stride': 16", scores=(1, 20, 2, 3), deltas=(1, 20, 2, 3)):
    return text("layers.text_proposal_layer", param, scores, deltas, (1, 3))


def test_ctpn_without_corrections():
    """The anchors at every place, cut at the image's edge."""
    feeds = {
        "a": np.arange(120, dtype=np.float32).reshape(1, 20, 2, 3),
        "b": np.zeros((1, 20, 2, 3), np.float32),
        "c": np.array([[30, 40, 1]], np.float32),
    }
    tops = check_both(ctpn(), feeds=feeds)
    np.testing.assert_array_equal(tops["y"][:2], [[0, 1.5, 15, 12.5], [0, 0, 15, 15.5]])
    np.testing.assert_array_equal(tops["y"][20], [32, 1.5, 39, 12.5])
    np.testing.assert_array_equal(tops["z"][:2, 0], [60, 66])  # the texts' scores, by place


def test_ctpn_refused():
    with pytest.raises(ShapeError, match="is not of the form 'feat_stride': 16"):
        make(ctpn("'scales': 3"))
    with pytest.raises(UnsupportedError, match="takes a single image"):
        make(ctpn(scores=(2, 20, 2, 3), deltas=(2, 20, 2, 3)))
    with pytest.raises(ShapeError, match="scores and corrections of 20 channels"):
        make(ctpn(deltas=(1, 40, 2, 3)))


SSH = "{'feat_stride': 16,'scales': [4,8], 'ratios':[1,]}"


def ssh(param=SSH):
    module = "SSH.layers.proposal_layer"
    return text(module, param, (1, 4, 3, 4), (1, 8, 3, 4), (1, 3))


def test_ssh_keeps_what_overlaps():
    """All 24 boxes in TEST; in TRAIN those that no better one covers by more than 0.3."""
    rng = np.random.default_rng(0)
    feeds = {
        "a": rng.permutation(48).reshape(1, 4, 3, 4).astype(np.float32),
        "b": np.zeros((1, 8, 3, 4), np.float32),
        "c": np.array([[48, 64, 1]], np.float32),
    }
    assert len(check_both(ssh(), feeds=feeds)["y"]) == 24
    assert 1 <= len(make(ssh(), phase="TRAIN").forward(feeds)["y"]) < 12


def test_ssh_refuses_other_settings():
    with pytest.raises(UnsupportedError, match="param_str has 'top_n'"):
        make(ssh(SSH.replace("'scales'", "'top_n': 3, 'scales'")))
