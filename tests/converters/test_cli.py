"""The command line: what it prints, its exit status, and what it leaves behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from caffe_compat.converters import cli

from ..cases import GOLDEN

NET = """
name: "small"
input: "data" input_shape { dim: 2 dim: 3 dim: 8 dim: 9 }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 5 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "relu1" type: "PReLU" bottom: "conv1" top: "conv1" param { decay_mult: 0 } }
layer { name: "fc" type: "InnerProduct" bottom: "conv1" top: "fc"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "fc" top: "fc" include { phase: TRAIN } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return path


def error(result):
    status, out, err = result
    assert status == 1
    assert out == ""
    lines = [line for line in err.splitlines() if not line.startswith(("note:", "warning:"))]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0]


def test_init_convert_run_agree(run, net, tmp_path):
    weights, model = tmp_path / "w.caffemodel", tmp_path / "net.onnx"
    assert run("init", net, "-o", weights, "--seed", 3)[0] == 0
    assert run("convert", net, weights, "-o", model, "--verify")[0] == 0
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((2, 3, 8, 9)))
    feed = f"data={tmp_path / 'x.npy'}"
    assert run("run", model, "--feed", feed, "--out", tmp_path / "a")[0] == 0
    assert run("run", net, "--weights", weights, "--feed", feed, "--out", tmp_path / "b")[0] == 0
    made = [np.load(tmp_path / folder / "prob.npy") for folder in "ab"]
    np.testing.assert_array_equal(*made)
    np.testing.assert_allclose(made[0].sum(1), 1, rtol=1e-6)
    status, out, _ = run("run", model, "--feed", feed)
    assert status == 0
    assert "prob" in out


def test_init_writes_every_format(run, net, tmp_path):
    for name in ("w.caffemodel", "w.caffemodel.h5", "w.onnx"):
        assert run("init", net, "-o", tmp_path / name)[0] == 0
        assert (tmp_path / name).stat().st_size > 1000
    assert "none of" in error(run("init", net, "-o", tmp_path / "w.txt"))
    assert not (tmp_path / "w.txt").exists()


def test_batch_and_input(run, net, tmp_path):
    def dims(*options):
        assert run("convert", net, "-o", tmp_path / "n.onnx", *options)[0] == 0
        (data,) = onnx.load(tmp_path / "n.onnx").graph.input
        return [d.dim_param or d.dim_value for d in data.type.tensor_type.shape.dim]

    assert dims() == [2, 3, 8, 9]
    assert dims("--batch", 7) == [7, 3, 8, 9]
    assert dims("--batch", "dynamic") == ["batch", 3, 8, 9]
    assert dims("--input", "data=1x3x12x11") == [1, 3, 12, 11]
    assert "'nothing'" in error(run("convert", net, "-o", "n.onnx", "--input", "nothing=1x2"))
    assert "axis 2" in error(run("convert", net, "-o", "n.onnx", "--input", "data=2x3x?x9"))


def test_show(run, net, tmp_path):
    status, out, _ = run("show", net)
    assert status == 0
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[2:]}
    assert rows["conv1"] == [
        "Convolution",
        "data",
        "conv1",
        "2x5x6x7",
        "weight",
        "5x3x3x3,",
        "bias",
        "5",
        "140",
        "msra,",
        "constant",
    ]
    assert rows["prob"] == ["Softmax", "fc", "prob", "2x4"]
    assert rows["inputs"] == ["data", "2x3x8x9"]
    assert "5 layers, 989 parameters (3,956 bytes)" in out
    run("init", net, "-o", tmp_path / "w.caffemodel")
    status, out, _ = run("show", tmp_path / "w.caffemodel")
    assert status == 0
    assert "989 parameters" in out
    assert out.splitlines()[-1].split() == ["1", "relu1", "5", "0.2500", "0.2500", "0.2500"]


def test_show_splits_has_caffes_full_list_of_blobs(run, net):
    second = 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'
    net.write_text(NET + second)
    _, plain, _ = run("show", net)
    assert "split" not in plain
    status, out, _ = run("show", net, "--splits")
    assert status == 0
    split = "data_input_0_split"
    row = next(line.split() for line in out.splitlines() if line.startswith(split))
    assert row == [split, "Split", "data", f"{split}_0", "2x3x8x9,", f"{split}_1", "2x3x8x9"]


def test_upgrade(run, tmp_path):
    before = GOLDEN / "upgrade" / "BVLC_caffe_examples_cifar10_v2_cifar10_full_test"
    assert run("upgrade", before / "before.prototxt", "-o", tmp_path / "a.prototxt")[0] == 0
    assert run("upgrade", tmp_path / "a.prototxt", "-o", tmp_path / "b.prototxt")[0] == 0
    assert (tmp_path / "a.prototxt").read_text() == (tmp_path / "b.prototxt").read_text()
    assert "layer {" in (tmp_path / "a.prototxt").read_text()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("num_output: 5", "num_output 5", ":5:"),
        ("kernel_size: 3", "kernel_sizes: 3", "'kernel_sizes'"),
        ("kernel_size: 3", "kernel_size: 30", "layer 'conv1' (Convolution)"),
        ('bottom: "conv1" top: "fc"', 'bottom: "conv9" top: "fc"', "'conv9'"),
        ('top: "prob"', 'top: "data"', "'data' produced by multiple sources"),
        ('"msra"', '"orthogonal"', "orthogonal"),
    ],
)
def test_bad_prototxt(run, net, tmp_path, old, new, says):
    assert old in NET
    net.write_text(NET.replace(old, new))
    out = tmp_path / "net.onnx"
    out.write_bytes(b"before")
    message = error(run("convert", net, "-o", out))
    assert says in message
    assert out.read_bytes() == b"before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "net.prototxt"]


def test_all_unsupported_types_at_once(run, net):
    text = NET.replace('"PReLU"', '"Foo"').replace('"Softmax"', '"Bar"')
    net.write_text(text.replace("decay_mult: 0", "decay_mult: 0 unheard_of: 1"))
    message = error(run("convert", net, "-o", net.parent / "n.onnx"))
    assert "layer 'relu1' (Foo)" in message
    assert "layer 'prob' (Bar)" in message


def test_unknown_field_of_a_layer_that_is_left_out(run, net):
    net.write_text(NET.replace('"drop"', '"drop" fork_param { a: 1 }'))
    status, _, err = run("convert", net, "-o", net.parent / "n.onnx")
    assert status == 0
    assert "'fork_param'" in err
    net.write_text(NET.replace("num_output: 4", "num_output: 4 fork_only: 1"))
    assert "--ignore-unknown" in error(run("convert", net, "-o", net.parent / "n.onnx"))
    assert run("convert", net, "-o", net.parent / "n.onnx", "--ignore-unknown")[0] == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>Not found</body></html>", "an HTML page"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "a PNG image"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
        (None, "no such file"),
    ],
)
def test_bad_weights(run, net, tmp_path, content, says):
    weights = tmp_path / "w.caffemodel"
    if content is not None:
        weights.write_bytes(content)
    message = error(run("convert", net, weights, "-o", tmp_path / "n.onnx")).lower()
    assert "w.caffemodel" in message
    assert says.lower() in message
    assert not (tmp_path / "n.onnx").exists()


def test_truncated_weights(run, net, tmp_path):
    weights = tmp_path / "w.caffemodel"
    run("init", net, "-o", weights)
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    assert "w.caffemodel" in error(run("convert", net, weights, "-o", tmp_path / "n.onnx"))


def test_weights_of_another_shape(run, net, tmp_path):
    weights = tmp_path / "w.caffemodel"
    run("init", net, "-o", weights)
    net.write_text(NET.replace("num_output: 4", "num_output: 6"))
    message = error(run("convert", net, weights, "-o", tmp_path / "n.onnx"))
    assert "'fc'" in message
    assert "4 210 (840)" in message
    assert "6 210 (1260)" in message
    assert "rename the layer" in message


def test_python_layer_imports_nothing(run, net, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    python = 'type: "Python" python_param { module: "evil" layer: "Gone" }'
    net.write_text(NET.replace('type: "Softmax"', python))
    message = error(run("convert", net, "-o", tmp_path / "n.onnx"))
    assert "evil" in message
    assert "Gone" in message
    assert "evil" not in sys.modules


CUSTOM = """
import caffe_compat
@caffe_compat.register(module="mine", layer="Twice")
class Twice(caffe_compat.Layer):
    def forward(self, x):
        return 2 * x
    def lower(self, g, x):
        return g.Add(x, x)
"""


def test_custom_layer(run, net, tmp_path):
    (tmp_path / "mine.py").write_text(CUSTOM)
    python = 'type: "Python" python_param { module: "mine" layer: "Twice" }'
    net.write_text(NET.replace('type: "Softmax"', python))
    custom = ("--custom", tmp_path / "mine.py")
    status, out, _ = run("convert", net, "-o", tmp_path / "n.onnx", "--verify", *custom)
    assert status == 0
    assert "verified" in out
    (tmp_path / "mine.py").write_text("1 / 0")
    assert "mine.py: ZeroDivisionError" in error(run("show", net, *custom))


def test_misuse_is_status_2(run, net):
    assert run("convert", net)[0] == 2
    assert run("convert", net, "-o", "x.onnx", "--batch", "many")[0] == 2
    assert run("convert", net, "-o", "x.onnx", "--input", "data=axb")[0] == 2
    assert run("nothing")[0] == 2


def test_debug_shows_where(run, net, monkeypatch):
    net.write_text("layer {")
    for arguments in (["--debug", "show", str(net)], ["show", str(net), "--debug"]):
        monkeypatch.setattr(sys, "argv", ["caffe-compat", *arguments])
        with pytest.raises(ValueError, match=r"net\.prototxt"):
            cli.main()


def test_help_imports_nothing_heavy():
    code = (
        "import sys, caffe_compat.converters.cli; "
        "print(sorted({'numpy', 'onnx', 'onnxruntime', 'google.protobuf', 'h5py', 'rich'} "
        "& set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


STEERING = "a\x1b]0;owned\x07\x9b31m\u202eb"  # sets the terminal's title, its colour, the direction


def test_names_do_not_steer_the_terminal(run, net, tmp_path):
    escaped = "".join(f"\\{byte:03o}" for byte in STEERING.encode())
    net.write_text(NET.replace('name: "conv1"', f'name: "{escaped}\\nerror: forged"'))
    status, out, _ = run("show", net)
    assert status == 0
    assert r"a\u001b]0;owned\u0007\u009b31m\u202eb\nerror: forged" in out
    weights = tmp_path / f"{STEERING}.caffemodel"
    assert run("init", net, "-o", weights)[0] == 0
    status, out, _ = run("show", weights)
    assert status == 0
    assert out.replace("\n", "").isprintable()
    net.write_text(net.read_text().replace("kernel_size: 3", "kernel_size: 30"))
    line = error(run("show", net))
    assert line.isprintable()
    assert r"layer 'a\u001b]0;owned" in line


def test_a_name_of_any_length_is_cut_in_an_error(run, net):
    net.write_text(NET.replace('type: "Softmax"', f'type: "{"x" * 100_000}"'))
    assert len(error(run("show", net))) < 20_000


def test_one_long_name_does_not_widen_every_row(run, net):
    rows = "".join(
        f'layer {{ name: "r{i}" type: "ReLU" bottom: "data" top: "r{i}" }}' for i in range(50)
    )
    net.write_text(NET.replace('name: "conv1"', f'name: "{"x" * 10_000}"') + rows)
    status, out, _ = run("show", net)
    assert status == 0
    assert len(out) < 50_000


def test_convert_leaves_the_prototxt_alone(run, net):
    assert "is the net itself" in error(run("convert", net, "-o", net))
    assert net.read_text() == NET


@pytest.mark.parametrize("dims", ["0x3", "-1x3", "1_0x3", "１x3", "²x3", "1e3", "1x", "9" * 30])
def test_sizes_that_are_none(run, net, dims):
    assert run("show", net, "--input", f"data={dims}")[0] == 2


COMMAND = [sys.executable, "-m", "caffe_compat.converters"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_ends_it_finds_no_half_file(net, tmp_path, number, status):
    code = """if True:
        import signal, sys, time
        from caffe_compat import files, pipeline
        from caffe_compat.converters import cli

        def save(net, path):
            with files.atomic(path):
                time.sleep(60)

        pipeline.save = save
        signal.signal(signal.SIGINT, signal.default_int_handler)
        cli.main()"""
    folder = tmp_path / "out"
    folder.mkdir()
    running = subprocess.Popen(
        [sys.executable, "-c", code, "init", net, "-o", folder / "w.caffemodel"],
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not any(folder.iterdir()) and running.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(number)
    _, err = running.communicate()
    assert (running.returncode, err) == (status, b"")
    assert not any(folder.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="a shell of Unix")
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("show {} >&-", 0),
        ("show {}.not >&- 2>&-", 1),
        ("show {} >/dev/full", 1),
        ("upgrade {} -o /dev/stdout | grep -q convolution_param", 0),
    ],
)
def test_streams_that_are_closed_full_or_piped(net, line, status):
    if "full" in line and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    script = f"set -o pipefail; {' '.join(COMMAND)} {line.format(net)}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_file_that_may_not_be_read(net, tmp_path):
    """Not misuse, whose status is 2. Root would read it: so it runs without that right."""
    net.chmod(0)
    command = [*COMMAND, "show", net]
    if os.access(net, os.R_OK):
        dropped = "--bounding-set=-dac_override,-dac_read_search"
        without = [shutil.which("setpriv") or "false", dropped]
        if subprocess.run([*without, "true"], check=False).returncode:
            pytest.skip("run by root, who may read everything")
        command = [*without, *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"error: {net}: cannot be read: Permission denied\n"
