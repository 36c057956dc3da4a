"""`run --feed`: a net on arrays."""

from __future__ import annotations

import numpy as np

from caffe_compat.runtime import devices, session

from .models import CIFAR, MODEL


def test_features_of_arrays(run, folder):
    with np.load(CIFAR / "io.npz") as io:
        np.save(folder / "data.npy", io["in:data"])
        want = io["out:prob"]
    status, _, _ = run(
        "run",
        *MODEL,
        "--feed",
        f"data={folder / 'data.npy'}",
        "--blob",
        "prob,ip1",
        "--out",
        folder / "f",
        "--format",
        "npz",
    )
    assert status == 0
    with np.load(folder / "f" / "outputs.npz") as made:
        assert sorted(made) == ["ip1", "prob"]
        np.testing.assert_allclose(made["prob"], want, atol=1e-5)


FULL = (
    'input: "x" input_shape { dim: 1 dim: 2 dim: 3 dim: 3 } layer { name: "fc" type: "Convolution" '
    'bottom: "x" top: "y" convolution_param { num_output: 2 kernel_size: 3 } }'
)
DENSE = FULL.replace('"Convolution"', '"InnerProduct"').replace(
    "convolution_param { num_output: 2 kernel_size: 3 }", "inner_product_param { num_output: 2 }"
)


def test_how_convolutions_are_chosen(run, folder, monkeypatch):
    """Of arrays and of images alike."""
    asked = []

    def choose(name, *, cuda_graph, conv_search):
        asked.append((cuda_graph, conv_search))
        return devices.devices(name)

    monkeypatch.setattr(session, "devices", choose)
    np.save(folder / "x.npy", np.zeros((1, 3, 32, 32), np.float32))
    for source in (("--feed", f"data={folder / 'x.npy'}"), ("--image", folder / "a.png")):
        for options in ((), ("--conv-search", "exhaustive", "--cuda-graph")):
            assert run("run", *MODEL, "--device", "cpu", *source, *options)[0] == 0
    assert asked == [(False, None), (True, "exhaustive")] * 2
    status, _, err = run("run", *MODEL, "--image", folder / "a.png", "--conv-search", "fast")
    assert (status, "'heuristic', 'exhaustive', 'default'" in err) == (2, True)


def test_weights_as_an_argument(run, folder):
    np.save(folder / "x.npy", np.zeros((1, 3, 32, 32), np.float32))
    arguments = ("--feed", f"data={folder / 'x.npy'}", "--blob", "ip1")
    results = [run("run", *model, *arguments) for model in (MODEL, (MODEL[0], MODEL[-1]))]
    assert results[0] == results[1]
    status, out, err = results[0]
    assert (status, out.split()[:2], "WARNING" in err) == (0, ["ip1", "1x64"], False)
    status, _, err = run("run", MODEL[0], MODEL[-1], "--weights", MODEL[-1], *arguments)
    assert (status, "the weights are named twice" in err) == (2, True)


def test_without_weights_the_answer_ends_in_a_warning(run, folder):
    status, out, err = run("run", MODEL[0], "--image", folder / "a.png")
    assert status == 0
    assert out
    assert err.splitlines()[-1].startswith("WARNING: no weights are given: every weight was drawn")


def test_blobs_of_images_are_shown(run, folder):
    arguments = ("--image", folder / "a.png", "--image", folder / "b.png", "--blob", "conv1,ip1")
    status, out, _ = run("run", MODEL[0], MODEL[-1], "--scale", 1, *arguments)
    lines = out.splitlines()
    assert (status, len(lines), lines[0]) == (0, 6, str(folder / "a.png"))
    assert lines[2].split()[:3] == ["ip1", "64", "mean"]


def test_a_file_with_none_of_the_layers(run, folder):
    (folder / "a.prototxt").write_text(FULL)
    (folder / "b.prototxt").write_text(FULL.replace('"fc"', '"other"'))
    np.save(folder / "x.npy", np.zeros((1, 2, 3, 3), np.float32))
    feed = ("--feed", f"x={folder / 'x.npy'}")
    assert run("init", folder / "a.prototxt", "-o", folder / "a.caffemodel")[0] == 0
    status, _, err = run("run", folder / "b.prototxt", folder / "a.caffemodel", *feed)
    line = err.splitlines()[-1]
    assert (status, "has none of the net's layers: the net's are other, the file's fc" in line) == (
        1,
        True,
    )
    assert line.endswith("(--allow-missing)")
    given = ("run", folder / "b.prototxt", folder / "a.caffemodel", *feed, "--allow-missing")
    status, _, err = run(*given)
    assert status == 0
    assert err.splitlines()[-2].startswith("WARNING: drawn from their fillers, since they are not")
    assert err.splitlines()[-1].startswith("WARNING: weights are all 0, since there is no")


def test_blobs_of_equal_count(run, folder):
    (folder / "conv.prototxt").write_text(FULL)
    (folder / "dense.prototxt").write_text(DENSE)
    np.save(folder / "x.npy", np.ones((1, 2, 3, 3), np.float32))
    feed = ("--feed", f"x={folder / 'x.npy'}")
    weights = folder / "w.npz"
    np.savez(weights, **{"fc/0": np.arange(36).reshape(2, 18), "fc/1": [0.5, 1]})
    status, _, err = run("run", folder / "conv.prototxt", weights, *feed)
    line = err.splitlines()[-1]
    assert (status, "Source param shape is 2 18 (36)" in line, "rename" in line) == (1, True, False)
    assert line.endswith("(--allow-reshape)")
    outputs = []
    for net in ("conv", "dense"):
        given = ("run", folder / f"{net}.prototxt", weights, *feed, "--allow-reshape")
        assert run(*given, "--out", folder / net)[0] == 0
        outputs.append(np.load(folder / net / "y.npy").ravel())
    np.testing.assert_array_equal(outputs[0], [17 * 9 + 0.5, 53 * 9 + 1])
    np.testing.assert_array_equal(*outputs)
