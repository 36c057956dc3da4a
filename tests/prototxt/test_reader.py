"""Prototxt files: encodings, refusals, and the nets inside solver files."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from caffe_compat.caffe_pb2 import TEST, TRAIN, NetParameter
from caffe_compat.errors import CaffeCompatError, ParseError
from caffe_compat.prototxt.reader import read_net, read_solver

CONV = """name: "n"  # a comment
layer {
  name: 'conv' type: "Convolution"
  bottom: "data" top: "conv"
  convolution_param { num_output: 3, kernel_size: [5, 3]; weight_filler < type: "msra" a: 0.25 > }
}
"""


def saved(tmp_path, data):
    path = tmp_path / "net.prototxt"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


ENCODINGS = {
    "plain": CONV.encode(),
    "byte order mark": b"\xef\xbb\xbf" + CONV.encode(),
    "Windows line ends": CONV.replace("\n", "\r\n").encode(),
    "old Mac line ends": CONV.replace("\n", "\r").encode(),
    "UTF-16": CONV.encode("utf-16"),
    "GBK in a comment": CONV.encode().replace(b"a comment", "卷积".encode("gbk")),
    "control-Z at the end": CONV.encode() + b"#\x1a",
}


@pytest.mark.parametrize("data", ENCODINGS.values(), ids=ENCODINGS)
def test_every_encoding_reads_the_same(tmp_path, data):
    net, skipped = read_net(saved(tmp_path, data))
    assert not skipped
    conv = net.layer[0].convolution_param
    assert (net.name, net.layer[0].type) == ("n", "Convolution")
    assert (conv.num_output, list(conv.kernel_size), conv.weight_filler.a) == (3, [5, 3], 0.25)


def test_names_that_are_not_utf8_stay_distinct(tmp_path):
    net, _ = read_net(saved(tmp_path, b'input: "\xe9" input: "\xe8" input: "\xc3\xa9"'))
    assert len(set(net.input)) == 3


# The file's content, and its error behind the path, one line.
REFUSED = {
    "unclosed": ("layer {\n name: 'x'\n", ":2:8: field 'name': Expected \"}\""),
    "not a number": ("layer {\n  pooling_param { pad: 1.5 }\n}", ":2:24: field 'pad': Couldn't"),
    "too large": ("input_dim: 99999999999999999999", ":1:12: field 'input_dim': Value out of"),
    "five thousand digits": ("input_dim: " + "9" * 5000, ":1:12: field 'input_dim': "),
    "no value": ("layer { name: }", ":1:15: field 'name': Expected string"),
    "given twice": (
        "force_backward: true force_backward: false",
        ":1:38: field 'force_backward': Message type",
    ),
    "string left open": ("name: 'a\n", ":1:7: field 'name': String missing ending quote"),
    "unknown and unclosed": ("name: 'x' new_field {", ":1:11: field 'new_field': never closed"),
    "brackets crossed": ("new_field { a < } >", ":1:1: field 'new_field': never closed"),
    "required": ("layer { clip_param { min: 0 } }", ": required but absent: .*clip_param.max"),
    "bytes no text": ("layer { top: '\\xff' }", ":1:21: field 'top': Couldn't parse string"),
    "escape": (r"name: '\\\'\101\7\n' input: 'C:\dat'", r":1:32: field 'input': no such.*\\d"),
    "octal escape": (r"layer { name: '\400' }", ":1:16: field 'name': no such escape"),
    "Windows path": (
        r"layer { data_param { source: 'D:\caffe' } }",
        r":1:33: field 'source': no such escape: \\c; a backslash .* write two, and in a path /",
    ),
    "comment of C++": ("name: 'a'\n// old", ":2:1: field 'name': a comment begins with #, not"),
    "comment of C": ("/* old */ name: 'a'", ":1:1: a comment begins with #, not with /\\*"),
    "too many messages": ("layer{}" * 100_001, ": more than 100,000 messages or 3,000,000 words"),
    "prose": ("This is not a net.", ":1:1: "),
    "JSON": ('{"layers": []}', ":1:1: "),
    "another prototxt": ("item { id: 1 } item { id: 2 }", ": not a Caffe net.*item"),
    "empty": ("", ": the file is empty"),
    "blank": (" \n\t\n", ": the file is empty"),
    "comments": ("# one\n  # two", ": the file has only comments"),
    "HTML": ("\n<!doctype html><html></html>", ": not a prototxt but an HTML page"),
    "picture": (b"\x89PNG\r\n\x1a\n\0\0", ": not a prototxt but a PNG image"),
    "Git LFS": ("version https://git-lfs.github.com/spec/v1\n", ": .*git lfs pull"),
    "caffemodel": (NetParameter(name="x", input=["\0"]).SerializeToString(), ": a binary file"),
    "unclosed nesting": ("layer { zz {" * 50_000, ":1:9: field 'zz': never closed"),
    "nested brackets": ("input_dim: " + "[" * 100_000, ":1:1: field 'input_dim': never closed"),
}


@pytest.mark.parametrize("data, message", REFUSED.values(), ids=REFUSED)
def test_refused_in_one_line(tmp_path, data, message):
    path = saved(tmp_path, data)
    with pytest.raises(ParseError, match=f"^{re.escape(str(path))}{message}") as caught:
        read_net(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(ParseError, match=r"gone\.prototxt: no such file"):
        read_net(tmp_path / "gone.prototxt")
    with pytest.raises(ParseError, match="cannot be read"):
        read_net(tmp_path)


SOLVER = """base_lr: 0.01 type: "Adam" test_state { stage: "s" } train_state { level: 2 }
train_net_param { name: "train" layer { name: "a" new: 1 } }
test_net_param { name: "test" layer { name: "b" } layer { name: "c" other: 1 } }
"""


@pytest.mark.parametrize(
    "text, name",
    [
        ("layers { name: 'b' type: NOVEL }", "b"),
        ("layers { layer { name: 'b' new: 1 } }", "b"),
        ("layers { layer { new: 1 name: 'b' type: 'conv' } }", "b"),
    ],
)
def test_skipped_fields_of_old_layers_have_the_layers_name(tmp_path, text, name):
    _, (skip,) = read_net(saved(tmp_path, text))
    assert (skip.layer, skip.layer_name) == (0, name)


def test_solver_with_its_nets_inside(tmp_path):
    path = saved(tmp_path, SOLVER)
    test, (skip,) = read_net(path)
    assert (test.name, list(test.state.stage), skip.layer_name) == ("test", ["s"], "c")
    assert skip.path == "layer[1]"
    train, (skip,) = read_net(path, TRAIN)
    assert (train.name, train.state.level, skip.layer_name) == ("train", 2, "a")
    solver, skipped = read_solver(path)
    assert solver.type == "Adam"
    assert [s.path for s in skipped] == ["train_net_param.layer[0]", "test_net_param[0].layer[1]"]
    shared = saved(tmp_path, "base_lr: 1 net_param { name: 'both' }")
    assert read_net(shared, TEST)[0].name == read_net(shared, TRAIN)[0].name == "both"


def test_solver_that_names_its_net(tmp_path):
    with pytest.raises(ParseError, match=r"a solver without a net.*'a/net\.prototxt'"):
        read_net(saved(tmp_path, 'net: "a/net.prototxt" base_lr: 0.01'))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
@example(b"\xff\xfe\x00")
@example(b"\xff\xfe\x00\xd8")
def test_any_bytes_end_well(tmp_path_factory, data):
    path = saved(tmp_path_factory.getbasetemp(), data)
    try:
        net, _ = read_net(path)
    except CaffeCompatError:
        return
    assert net.ListFields()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no /dev/zero")
def test_a_device_without_an_end():
    with pytest.raises(ParseError, match=r"^/dev/zero: larger than 32 MiB"):
        read_net("/dev/zero")
