"""Fields that the schema lacks: their words, and their effect on a net."""

from __future__ import annotations

import logging

import pytest

from caffe_compat.caffe_pb2 import LayerParameter, NetParameter
from caffe_compat.errors import ParseError
from caffe_compat.prototxt.parser import parse, parse_tolerantly
from caffe_compat.prototxt.phase import select_skipped
from caffe_compat.prototxt.skipped import Unknown, is_harmless
from caffe_compat.prototxt.upgrade import upgrade


def skipped(text):
    return parse_tolerantly(text, NetParameter, "net.prototxt")[1]


def test_a_field_in_words():
    (first, second, third) = skipped(
        "layer {\n name: 'pool1' fork_param { a: 1 }\n pooling_param { pool: SOFT } }\nengine: 'M'"
    )
    assert str(first) == (
        "net.prototxt:2:16: layer 'pool1': LayerParameter has no field 'fork_param'"
    )
    assert str(second) == (
        "net.prototxt:3:18: layer 'pool1': PoolingParameter.pool has no value 'SOFT'"
    )
    assert str(third) == "net.prototxt:4:1: NetParameter has no field 'engine'"


def test_fields_that_count_are_refused_and_the_others_logged(caplog):
    fields = skipped("layer { name: 'a' one: 1 } layer { name: 'b' two: 2 }")
    with pytest.raises(ParseError, match=r"no field 'one'; ignore_unknown=\('one',\)") as error:
        Unknown(fields, fields[:1]).accept()
    assert error.value.remedies == ("ignore_unknown",)
    assert not caplog.records
    built = parse("layer { name: 'a' } layer { name: 'b' }", NetParameter)
    with caplog.at_level(logging.INFO, "caffe_compat"):
        assert Unknown(fields, fields[:1]).accept(("one",)) == ("LayerParameter.one",)
        assert Unknown(fields[1:], ()).accept() == ()
        assert not caplog.records
        Unknown(fields, fields[:1]).report(built)
        Unknown(fields[1:], ()).report(built)
    assert [record.getMessage() for record in caplog.records] == [
        f"skipped: {field}" for field in (*fields, fields[1])
    ]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "INFO"]


def test_many_fields_are_counted():
    fields = skipped("layer { " + "".join(f"f{i}: 1 " for i in range(9)) + "}")
    with pytest.raises(ParseError, match="'f4'; and 4 more; ignore_unknown="):
        Unknown(fields, fields).accept()


def test_names_with_and_without_the_message():
    fields = skipped("layer { name: 'a' convolution_param { gap: 1 gap_h: 1 } }")
    names = ("gap", "ConvolutionParameter.gap_h")
    accepted = Unknown(fields, fields).accept(names)
    assert accepted == ("ConvolutionParameter.gap", "ConvolutionParameter.gap_h")
    with pytest.raises(ParseError, match="no field 'gap_h'"):
        Unknown(fields, fields).accept(("gap", "PoolingParameter.gap_h"))
    for nothing in (True, False, ("",)):
        with pytest.raises(ParseError, match=r"this net needs ignore_unknown=\('gap', 'gap_h'\)"):
            Unknown(fields, fields).accept(nothing)


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("name: 'c' bottom: 'x' convolution_param { engine: MKL2017 }", True),
        ("name: 'c' bottom: 'x' convolution_param { cudnn_algo_seeker: FINDEX }", True),
        ("name: 'c' bottom: 'x' param { lr_policy: 1 }", True),
        ("name: 'd' type: 'Data' fork_data_param { a: 1 }", True),
        ("name: 'd' type: 'Data' data_param { backend: NOVEL }", True),
        ("name: 'd' type: 'DummyData' dummy_data_param { a: 1 }", False),
        ("name: 'c' bottom: 'x' convolution_param { pad_left: 1 }", False),
        ("name: 'p' bottom: 'x' pooling_param { pool: AVE_NOVEL }", False),
        ("name: 'd' include { when: 1 }", False),
    ],
)
def test_fields_that_can_change_no_number(text, harmless):
    net, (field,) = parse_tolerantly(f"layer {{ {text} }}", NetParameter)
    assert is_harmless(field, net.layer[0]) == harmless
    assert bool(select_skipped([field], net, 1)) != harmless


def test_types_that_v1_lacks_get_the_name_that_is_written():
    text = "layers { name: 'a' type: NOVEL } layers { name: 'b' type: RELU }"
    net, fields = parse_tolerantly(text, NetParameter, "net.prototxt")
    unknown = Unknown(fields, fields)
    assert [layer.type for layer in unknown.name_types(upgrade(net)).layer] == ["NOVEL", "ReLU"]
    assert unknown.accept() == ()


def test_a_field_counts_in_a_layer_that_is_built():
    fields = skipped("layer { name: 'a' one: 1 } layer { name: 'b' weight_filler { } two: 2 }")
    built = parse("layer { name: 'b' type: 'ReLU' }", NetParameter)
    unknown = Unknown(fields, fields)
    with pytest.raises(ParseError, match=r"^[^;]*no field 'weight_filler'[^;]*; [^;]*'two'"):
        unknown.accept((), built)
    with pytest.raises(ParseError, match=r"^[^;]*'two'; ignore_unknown=\('two',\)") as error:
        unknown.accept((), built, stored=["b"])
    assert error.value.changes == ({"ignore_unknown": ("two",)},)
    built.layer[0].type = "Input"
    assert unknown.accept((), built) == ()


def test_a_field_of_a_layer_that_is_given_twice():
    text = "layer { name: 'a' concat_param { axis: 1 axis: 2 } top: 'b' top: 'c' }"
    (again,) = skipped(text)
    assert str(again) == (
        "net.prototxt:1:42: layer 'a': ConcatParameter.axis is given a second time"
    )
    with pytest.raises(ParseError, match=r"second time$"):
        Unknown([again], [again]).accept(("axis",))
    with pytest.raises(ParseError, match="force_backward"):  # protobuf itself refuses it
        parse("force_backward: true force_backward: false", NetParameter)


def test_what_is_given_twice_alike_changes_nothing():
    text = "layer { name: 'a' concat_param { axis: 2 axis : 2 } concat_param { axis: 2 } }"
    (again,) = skipped(text)
    assert (
        str(again)
        == "net.prototxt:1:53: layer 'a': LayerParameter.concat_param is given a second time"
    )
    net, fields = parse_tolerantly(
        "name: 'a' layer { bottom: 'x' bottom: 'x' } name: 'b'", NetParameter
    )
    assert (net.name, list(net.layer[0].bottom)) == ("a", ["x", "x"])
    assert [(each.name, each.layer) for each in fields] == [("NetParameter.name", None)]


@pytest.mark.parametrize(
    ("field", "is_proposed"),
    [
        ("novel", True),
        ("has_lm", True),
        ("scale_filler", True),
        ("pad_end", False),
        ("dilation_h", False),
        ("moving_average", False),
        ("class_weighting", False),
        ("fuse_type", False),
        ("use_global_stats", False),
        ("normalization_param", False),
    ],
)
def test_a_field_that_is_likely_to_change_numbers_is_not_proposed_to_be_ignored(field, is_proposed):
    fields = skipped(f"layer {{ name: 'a' pooling_param {{ {field}: 1 }} }}")
    with pytest.raises(ParseError, match=field) as error:
        Unknown(fields, fields).accept()
    assert bool(error.value.changes) == is_proposed
    assert Unknown(fields, fields).accept((field,)) == (f"PoolingParameter.{field}",)


@pytest.mark.parametrize("field", ["conv_algorithm", "use_cudnn_on_gpu", "gemm_mode"])
def test_the_choices_of_a_library_change_no_number(field):
    (skip,) = skipped(f"layer {{ name: 'a' bn_param {{ {field}: 1 }} }}")
    assert is_harmless(skip, LayerParameter(type="Convolution", bottom=["x"]))
