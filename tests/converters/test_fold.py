"""`fold` and `convert --fold-batchnorm`: the files, and the report."""

from __future__ import annotations

from caffe_compat import pipeline
from caffe_compat.prototxt import writer
from caffe_compat.runtime.session import Session
from caffe_compat.weights import snapshot

from ..cases import assert_close, feed, make
from ..net.test_fold import CONV, INPUT, norm, random, scale


def test_both_files_are_written_and_the_report_is_printed(run, tmp_path):
    other = (CONV % "").replace('"conv"', '"other"') + norm("data", "n", "n")
    net = random(make(INPUT + CONV % "bias_term: false" + norm() + scale() + other))
    files = [tmp_path / name for name in ("net.prototxt", "w.caffemodel")]
    folded = [tmp_path / name for name in ("f.prototxt", "f.caffemodel")]
    writer.write_text(net.graph.net, files[0])
    snapshot.write_caffemodel(files[1], net.graph.net, net.arrays)
    status, out, _ = run("fold", *files, "-o", *folded)
    assert status == 0
    report = ["folded into conv: norm, scale", "kept n: follows 'data' (Input)"]
    sizes = [f"{path}  {path.stat().st_size:,} bytes" for path in folded]
    assert out.splitlines() == report + sizes
    feeds = feed(net)
    want = net.forward(feeds)
    again = pipeline.load(*folded).forward(feeds)
    for name in ("scale", "other", "n"):
        assert_close(again[name], want[name])
    onnx = tmp_path / "f.onnx"
    options = ("--fold-batchnorm", "--weights-as", "in-place")
    status, out, _ = run("convert", *files, "-o", onnx, *options)
    assert status == 0
    assert out.splitlines()[:2] == report
    stored = "n/mean, n/variance, conv/weight, conv/bias"
    assert f"stored in {onnx} itself: {stored}" in out
    for name, array in Session(onnx, "cpu").run(feeds).items():
        assert_close(array, want[name])
