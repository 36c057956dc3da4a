"""`doctor`: its report, its files, its exit status."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from ..doctor.nets import stack


def test_command(run, tmp_path):
    net, page, numbers = (tmp_path / name for name in ("n.prototxt", "r.html", "r.json"))
    net.write_text(stack(12, 'type: "xavier"'))
    status, out, err = run(
        "doctor",
        net,
        "--trials",
        1,
        "--compare",
        "msra,msra:auto",
        "--html",
        page,
        "--json",
        numbers,
    )
    assert status == 3
    assert err == ""
    assert "severe: conv2, conv3, conv4, conv5 and 7 more: signal vanishing: Var[y]" in out
    assert "xavier before a rectifier: each layer keeps 0.5 of the variance" in out
    assert "    measured with it: forward " in out
    assert "msra: forward " in out
    assert '    weight_filler { type: "msra" }' in out
    assert "1e-04 |" in out
    assert "Signals of stack" in page.read_text(encoding="utf-8")
    said = json.loads(numbers.read_text(encoding="utf-8"))
    assert said["severe"] is True
    assert [r["label"] for r in said["runs"]] == ["as written", "msra", "msra:auto"]
    assert said["findings"][0]["layers"][0].startswith("conv")
    net.write_text(stack(4, width=32))
    assert run("doctor", net, "--trials", 1, "--batch", 3)[0] == 0


def test_command_takes_pictures(run, tmp_path):
    net = tmp_path / "n.prototxt"
    net.write_text(stack(3).replace("dim: 5", "dim: 3", 1))
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 30, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    status, out, _ = run("doctor", net, "--trials", 1, "--data", folder)
    assert "data: input not normalised" in out
    prep = ("--mean", "127.5", "--scale", "0.0078125")
    status, out, _ = run("doctor", net, "--trials", 1, "--data", folder, *prep)
    assert (status, "no findings" in out) == (0, True)
    assert run("doctor", net, *prep)[0] == 2


def test_page_of_the_net_has_the_findings(run, tmp_path):
    pytest.importorskip("fast_sugiyama", reason="it has no build for Python 3.10")
    net, page = tmp_path / "n.prototxt", tmp_path / "n.html"
    net.write_text(stack(12, 'type: "xavier"'))
    assert run("show", net, "--html", page, "--doctor")[0] == 0
    html = page.read_text(encoding="utf-8")
    assert "severe: signal vanishing" in html
    assert "Remedy: weight_filler" in html
    assert run("show", net, "--doctor")[0] == 2


def test_command_takes_data(run, tmp_path):
    net, data = tmp_path / "n.prototxt", tmp_path / "x.npy"
    net.write_text(stack(3))
    np.save(data, np.random.default_rng(0).standard_normal((3, 5, 10, 9), np.float32) * 300)
    status, out, _ = run("doctor", net, "--trials", 1, "--data", data)
    assert status == 3
    assert "data: input not normalised" in out
    assert run("doctor", net, "--compare", "glorot")[0] == 1
    assert run("doctor", net, "--data", tmp_path / "none.npy")[0] == 1


def test_weights_are_those_of_the_file(run, tmp_path):
    net, trained = tmp_path / "n.prototxt", tmp_path / "w.caffemodel"
    net.write_text(stack(12))
    assert run("init", net, "-o", trained, "--seed", 5)[0] == 0
    net.write_text(stack(12, 'type: "xavier"'))
    status, out, _ = run("doctor", net, "--weights", trained, "--trials", 1)
    assert status == 0
    assert "xavier" not in out


def test_a_refusal_proposes_what_mends_it_as_in_every_command(run, tmp_path):
    (tmp_path / "n.prototxt").write_text(
        'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"'
        " inner_product_param { num_output: 3 } }"
    )
    status, out, err = run("doctor", tmp_path / "n.prototxt")
    assert (status, out) == (1, "")
    assert "unknown bottom blob 'x'" in err
    assert err.splitlines()[-1].endswith("--input x=1x3x224x224")
