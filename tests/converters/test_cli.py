"""The command line: help, errors, exit status, signals, streams."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from caffe_compat.converters import cli

import caffe_compat

from .models import NET, error


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


def test_misuse_is_status_2(run, net):
    assert run("convert")[0] == 2
    assert run("convert", net, "-o", "x.onnx", "--batch", "many")[0] == 2
    assert run("convert", net, "-o", "x.onnx", "--input", "data=axb")[0] == 2
    assert run("nothing")[0] == 2


def test_debug_shows_where(run, net, monkeypatch):
    net.write_text("layer {")
    for arguments in (["--debug", "show", str(net)], ["show", str(net), "--debug"]):
        monkeypatch.setattr(sys, "argv", ["caffe-compat", *arguments])
        with pytest.raises(ValueError, match=r"net\.prototxt"):
            cli.main()


HEAVY = ["PIL", "google.protobuf", "h5py", "numpy", "onnx", "onnxruntime", "rich"]


def imported(*arguments):
    """The modules that a run of the command has imported at its end."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: sys.stderr.write('|'.join(['', *sys.modules])))\n"
        "from caffe_compat.converters.cli import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    return set(done.stderr.split("|")[1:])


def test_help_imports_no_subcommand():
    modules = imported("--help")
    assert "caffe_compat.converters.cli" in modules
    assert not modules & {*HEAVY, "caffe_compat.converters.options"}
    assert not modules & {f"caffe_compat.converters.{name}" for name in cli.COMMANDS}


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_subcommand_imports_no_other(name):
    modules = imported(name, "--help")
    others = {
        f"caffe_compat.converters.{other.replace('-', '_')}"
        for other in cli.COMMANDS
        if other != name
    }
    assert f"caffe_compat.converters.{name.replace('-', '_')}" in modules
    assert not modules & others
    assert "onnxruntime" not in modules


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_list_of_subcommands_has_their_own_first_lines(run, name):
    command = cli.load_command(name)
    assert command.help.partition("\n")[0] == cli.COMMANDS[name]
    status, out, _ = run("--help")
    assert status == 0
    assert f"{name}  " in out
    assert cli.COMMANDS[name][:35] in out
    status, out, _ = run(name, "--help")
    assert status == 0
    assert cli.COMMANDS[name][:45] in out


def test_an_unknown_subcommand_is_misuse(run):
    status, _, err = run("convrt")
    assert status == 2
    assert "Did you mean 'convert'?" in err


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


COMMAND = [sys.executable, "-m", "caffe_compat.converters"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_half_file(net, tmp_path, number, status):
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


def test_version(run):
    assert run("--version") == (0, f"caffe-compat {caffe_compat.__version__}\n", "")


def test_an_error_of_the_system_is_a_sentence(run, net, tmp_path):
    long = tmp_path / ("x" * 300 + ".caffemodel")
    assert error(run("init", net, "-o", long)).endswith("cannot be written: File name too long")
    assert error(run("show", tmp_path / ("y" * 300))).endswith("File name too long")
