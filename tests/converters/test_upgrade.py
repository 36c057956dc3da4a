"""`upgrade`: its output upgrades to itself."""

from __future__ import annotations

from ..cases import GOLDEN


def test_upgrade(run, tmp_path):
    before = GOLDEN / "upgrade" / "BVLC_caffe_examples_cifar10_v2_cifar10_full_test"
    assert run("upgrade", before / "before.prototxt", "-o", tmp_path / "a.prototxt")[0] == 0
    assert run("upgrade", tmp_path / "a.prototxt", "-o", tmp_path / "b.prototxt")[0] == 0
    assert (tmp_path / "a.prototxt").read_text() == (tmp_path / "b.prototxt").read_text()
    assert "layer {" in (tmp_path / "a.prototxt").read_text()
