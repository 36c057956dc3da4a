"""The settings in a Python layer's param_str."""

from __future__ import annotations

import pytest

from caffe_compat.caffe_pb2 import FillerParameter, PReLUParameter
from caffe_compat.errors import ParseError
from caffe_compat.prototxt import param_str


def read(text):
    """Return a seed and a PReLUParameter from the text."""
    settings = param_str.parse(text)
    seed = param_str.whole(settings, "seed", 1701)
    message = PReLUParameter()
    param_str.apply(settings, message)
    return seed, message


@pytest.mark.parametrize(
    "text",
    [
        "channel_shared: true, filler: {type: constant, value: 0.5}",
        "channel_shared: true filler { type: 'constant' value: 0.5 }",
        '{"channel_shared": true, "filler": {"type": "constant", "value": 0.5}}',
        "{'channel_shared': True, 'filler': {'type': 'constant', 'value': 0.5}}",
        "channel_shared: 1;\nfiller: {value: 5e-1,},\nseed: 7",
    ],
)
def test_every_form_reads_the_same(text):
    _, message = read(text)
    assert message.channel_shared
    assert (message.filler.type, message.filler.value) == ("constant", 0.5)


def test_fields_of_every_kind():
    seed, message = read("seed: 7, filler: {sparse: 3, variance_norm: FAN_OUT, std: 2.5e-1}")
    assert seed == 7
    filler = FillerParameter(sparse=3, variance_norm=FillerParameter.FAN_OUT, std=0.25)
    assert message == PReLUParameter(filler=filler)
    assert read("") == (1701, PReLUParameter())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chanel_shared: true", "unknown chanel_shared (known: channel_shared, filler)"),
        ("filler: {kind: constant}", "unknown filler.kind (known: a, diag_val, max, mean, min, "),
        ("filler: constant", "filler takes {...}, and is 'constant'"),
        ("channel_shared: {a: 1}", "channel_shared takes one value, and is {...}"),
        ("channel_shared: maybe", "channel_shared is 'maybe', which is no truth value"),
        ("filler: {value: much}", "filler.value is 'much', which is no number"),
        ("filler: {sparse: 99999999999}", "filler.sparse is '99999999999', which is no whole"),
        ("filler: {variance_norm: FAN}", "filler.variance_norm is 'FAN', which is no VarianceNorm"),
        ("seed: -1", "seed is '-1', which is no whole number from 0 on"),
        ("filler: {type: constant", "'{' is not closed"),
        ("{channel_shared: true", "'{' is not closed"),
        ("filler: {type: 'constant}", "a quote is not closed: 'constant}"),
        ("channel_shared", "channel_shared is not followed by ':'"),
        ("channel_shared:", "channel_shared has no value; 'the end' follows"),
        ("channel_shared: , seed: 1", "channel_shared has no value; ',' follows"),
        (": true", "expected a name instead of ':'"),
        ("seed: 1 }", "expected a name instead of '}'"),
        ("seed: 1, seed: 2", "seed is given twice"),
        ("filler: type: msra", "expected a name instead of ':'"),
        ("a:{" * 100, "braces more than 8 deep"),
        ("__import__('os').system('true')", "__import__( is not followed by ':'"),
    ],
)
def test_refused(text, message):
    with pytest.raises(ParseError) as caught:
        read(text)
    assert str(caught.value).startswith("param_str: " + message)
