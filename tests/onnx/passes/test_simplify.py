"""The passes of every conversion: none changes what real Caffe's recorded cases and models give."""

from __future__ import annotations

import pytest

import caffe_compat
from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.passes import STANDARD, simplify

from ...cases import GOLDEN, assert_close, feed, inline, load, run_model

CASES = sorted(
    f"{folder}/{path.name}"
    for folder in ("layers", "layers_ssd")
    for path in (GOLDEN / folder).iterdir()
)


@pytest.mark.parametrize("case", CASES)
def test_plain_models_compute_the_same(case):
    net, io = load(GOLDEN / case)
    feeds = {**feed(net), **{key[3:]: array for key, array in io.items() if key.startswith("in:")}}
    plain = run_model(inline(lower(net)), feeds)
    for name, array in run_model(inline(simplify(lower(net))), feeds).items():
        assert_close(array, plain[name], 1e-6, name)


@pytest.mark.parametrize("name", ["hyperlpr_ssd", "ultraface_rfb320"])
def test_models_of_boxes_compute_the_same(name):
    folder = GOLDEN / "models" / name
    net = caffe_compat.load(folder / "net.prototxt", next(folder.glob("weights.*")))
    lowered, feeds = lower(net), feed(net)
    plain = run_model(inline(lowered), feeds)
    for output, array in run_model(inline(simplify(lowered)), feeds).items():
        assert_close(array, plain[output], 1e-5, output)


def test_the_passes_are_run_in_order():
    seen = []

    def note(name):
        def run(lowered):
            seen.append(name)
            return lowered

        return run

    assert simplify("a model", [note("first"), note("second")]) == "a model"
    assert seen == ["first", "second"]
    assert STANDARD
