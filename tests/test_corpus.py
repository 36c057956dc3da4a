"""benchmarks/corpus.py: its processes, its bounds and its table, on a folder of a few files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from .cases import REPORTS

NET = """
input: "data" input_shape { dim: 1 dim: 3 dim: 4 dim: 5 }
layer { name: "a" type: "InnerProduct" bottom: "data" top: "a"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
"""
SOLVER = 'net: "net.prototxt" base_lr: 0.1'
LABELS = 'item { name: "cat" label: 1 }'


@pytest.fixture(scope="module")
def corpus():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
        import corpus

        yield corpus
    sys.modules.pop("corpus", None)


def test_a_folder(corpus, tmp_path, capsys):
    folder = tmp_path / "nets"
    folder.mkdir()
    for name, text in {
        "deploy.prototxt": NET,
        "copy.prototxt": NET,  # counts once
        "solver.prototxt": SOLVER,
        "labels.prototxt": LABELS,
        "end.prototxt": (REPORTS / "34_unknown_end/net.prototxt").read_text(),
        "broken.prototxt": NET.rstrip()[:-1],
    }.items():
        (folder / name).write_text(text)
    assert corpus.main([str(folder), "--json", str(tmp_path / "out.jsonl"), "--jobs", "2"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    found = {line["file"]: line for line in lines}
    assert {name: line["kind"] for name, line in found.items()} == {
        "broken.prototxt": "refused",
        "copy.prototxt": "first",
        "end.prototxt": "hint",
    }
    assert found["copy.prototxt"]["verified"]
    assert found["end.prototxt"]["kept"] == 1  # an evaluation does not count
    assert "--leave-out EvalDetection" in found["end.prototxt"]["command"]
    table = capsys.readouterr().out.splitlines()
    assert table[1].split() == ["net", "files", "3", "0"]
    assert table[2].split()[5:7] == ["1", "(33.3%)"]
    assert table[3].split()[5:7] == ["1", "(33.3%)"]
    assert any("no prototxt of Caffe's" in line and "broken" in line for line in table)


def test_a_sample_is_the_same_by_its_seed(corpus, tmp_path):
    for i in range(5):
        (tmp_path / f"{i}.prototxt").write_text(
            NET.replace("num_output: 2", f"num_output: {i + 1}")
        )
    nets = list(corpus.nets(tmp_path))
    assert len(nets) == 5
    out = tmp_path / "out.jsonl"
    options = [str(tmp_path), "--sample", "2", "--seed", "3", "--no-verify", "--json", str(out)]
    corpus.main(options)
    corpus.main(options)
    files = [json.loads(line)["file"] for line in out.read_text().splitlines()]
    assert len(files) == 4
    assert files[:2] == files[2:]


def test_the_bounds_of_a_process(corpus):
    spin = [sys.executable, "-c", "while True: pass"]
    assert corpus.run(spin, corpus.Bounds(0.5, 4)) == (None, "")
    eat = [sys.executable, "-c", "b'x' * 2**33"]
    status, text = corpus.run(eat, corpus.Bounds(20, 1))
    assert status == 1
    assert "MemoryError" in text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("verified", 1),
        ("note: left out 2 of 4 layers: a (ReLU), b (Convolution)", 0.5),
        ("note: left out 2 of 4 layers: a (SoftmaxWithLoss), b (Convolution)", 2 / 3),
    ],
)
def test_the_share_of_the_layers(corpus, text, kept):
    assert corpus._kept(text) == pytest.approx(kept)


def test_causes_in_few_words(corpus):
    def cause(error):
        return corpus.Outcome("a", "refused", error=error).cause

    assert cause("error: layer 'a' (Novel): unknown layer type") == "unknown layer type"
    assert cause("error: layer 'a' (Python): unknown layer type") == "Python layer"
    assert cause("error: layer 'a' (Crop): axis 5 out of range") == "layer : axis out of range"
    assert cause("") == "no message"
    assert corpus.Outcome("x/a__my_deploy.prototxt", "first").is_deploy
    assert not corpus.Outcome("deploy/train.prototxt", "first").is_deploy
