"""`import caffe` by install() and by the command, each in a Python of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from .nets import SIMPLE


@pytest.fixture
def python(tmp_path):
    """Run this Python in a folder with the arguments; its output, error and status."""
    (tmp_path / "net.prototxt").write_text(SIMPLE)

    def run(*args, **files):
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return subprocess.run(
            [sys.executable, "-W", "error", *args],
            cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    return run


def caffe(python, *args, **files):
    done = python("-m", "caffe_compat.pycaffe", *args, **files)
    assert done.returncode == 0, done.stderr
    return done.stdout


NAMES = """
    import sys
    import caffe
    import caffe.io, caffe.draw, caffe.coord_map
    from caffe import layers as L, params as P
    from caffe.proto import caffe_pb2
    import caffe.proto.caffe_pb2 as pb2
    from caffe._caffe import Net, BlobVec
    from caffe.pycaffe import Net as Same
    from caffe.io import caffe_pb2 as third
    assert caffe.Net is Net is Same
    assert caffe_pb2 is pb2 is third
    assert caffe.io is sys.modules["caffe.io"] is sys.modules["caffe_compat.pycaffe.io"]
    assert caffe.io.__name__ == caffe.io.__spec__.name == "caffe_compat.pycaffe.io"
    assert {"Net", "Layer", "SGDSolver", "io", "layers", "TRAIN"} <= set(dir(caffe))
    try:
        import caffe.nothing
    except ModuleNotFoundError as error:
        print(error)
    print(caffe.Net("net.prototxt", caffe.TEST).outputs, caffe.__version__)
"""


def test_install_makes_every_name_this_packages(python):
    done = python(
        "script.py",
        script="from caffe_compat import pycaffe\npycaffe.install()\n" + textwrap.dedent(NAMES),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "No module named 'caffe.nothing'\n['prob'] 1.0.0\n"


def test_install_refuses_beside_a_real_caffe(python):
    done = python(
        "script.py",
        caffe="Net = None",
        script="""
            import caffe
            from caffe_compat import pycaffe
            pycaffe.install()
        """,
    )
    assert done.returncode == 1
    assert "a caffe is imported already, from" in done.stderr


def test_a_caffe_on_the_path_gives_way_to_the_command(python):
    assert caffe(python, "script.py", caffe="1 / 0", script=NAMES).endswith("['prob'] 1.0.0\n")


def test_the_command_runs_scripts_modules_and_code(python):
    script = "import caffe, sys\nprint(__name__, sys.argv, sys.path[0], __file__)"
    out = caffe(python, "sub.py", "-a", "b", sub=script)
    assert out.startswith("__main__ ['sub.py', '-a', 'b'] /")
    assert out.endswith("sub.py\n")
    assert "__main__" in caffe(python, "-m", "sub", "x", sub=script)
    assert caffe(python, "-c", "import caffe, sys; print(sys.argv, caffe.TEST)", "y") == (
        "['-c', 'y'] 1\n"
    )


def test_the_command_gives_the_scripts_status_and_a_traceback_of_the_script_alone(python):
    assert python("-m", "caffe_compat.pycaffe", "-c", "raise SystemExit(7)").returncode == 7
    done = python("-m", "caffe_compat.pycaffe", "bad.py", bad="def f():\n    {}['k']\nf()\n")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0].startswith("Traceback")
    assert 'File "bad.py", line 3' in lines[1]
    assert lines[-1] == "KeyError: 'k'"


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (("gone.py", "x"), 2, "error: gone.py: no such file\n"),
        (("--py2", "."), 2, "error: .: cannot be read: "),
        (("-m", "nothing"), 1, "ImportError: No module named nothing\n"),
        (("odd.py",), 1, '  File "odd.py", line 1\n'),
    ],
)
def test_no_script_to_run(python, args, status, words):
    done = python("-m", "caffe_compat.pycaffe", *args, odd="x = (")
    assert done.returncode == status
    assert done.stderr.startswith(words)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("args", [(), ("-c",), ("-m",), ("--what", "x.py")])
def test_usage(python, args):
    done = python("-m", "caffe_compat.pycaffe", *args)
    assert done.returncode == 2
    assert "python -m caffe_compat.pycaffe [--py2]" in done.stderr


@pytest.mark.parametrize("way", ["spawn", "forkserver"])
def test_spawned_children_import_it_too(python, way):
    out = caffe(
        python,
        "script.py",
        script=f"""
            import multiprocessing
            import caffe
            def work(name):
                return caffe.Net(name, caffe.TEST).outputs
            if __name__ == "__main__":
                with multiprocessing.get_context("{way}").Pool(1) as pool:
                    print(pool.map(work, ["net.prototxt"]))
        """,
    )
    assert out == "[['prob']]\n"


def test_other_pythons_that_a_script_starts_import_it_too(python):
    out = caffe(
        python,
        "script.py",
        script="""
            import subprocess, sys
            print(subprocess.check_output([sys.executable, "-c", "import caffe; print(caffe)"]))
        """,
    )
    assert "caffe_compat" in out


def test_import_loads_no_heavy_package(python):
    code = """
        import sys
        import caffe_compat.pycaffe
        heavy = {"torch", "onnxruntime", "skimage", "scipy", "h5py", "PIL", "onnx"}
        print(sorted(heavy & set(sys.modules)))
    """
    assert python("-c", textwrap.dedent(code)).stdout == "[]\n"


def test_a_module_that_only_a_fork_has_is_the_scripts_own(python, tmp_path):
    (tmp_path / "fork/caffe").mkdir(parents=True)
    (tmp_path / "fork/caffe/model_libs.py").write_text("import caffe\ndef where(): return 7 / 2\n")
    (tmp_path / "fork/caffe/io.py").write_text("raise ImportError('the wrong io')")
    script = """
        import sys
        sys.path.insert(0, "fork")
        import caffe.io
        from caffe.model_libs import where
        print(where(), caffe.model_libs.where())
    """
    assert caffe(python, "script.py", script=script) == "3.5 3.5\n"
    assert (
        caffe(python, "--py2", "script.py", script=script + "    print 'old'\n") == "(3, 3)\nold\n"
    )
    done = python("-m", "caffe_compat.pycaffe", "-c", "import caffe.model_libs")
    assert "No module named 'caffe.model_libs'" in done.stderr
