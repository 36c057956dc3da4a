"""`doctor`: its report, its files, its exit status."""

from __future__ import annotations

import json

import numpy as np

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
