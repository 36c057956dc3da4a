"""include and exclude rules, one table (net.cpp: FilterNet, StateMeetsRule)."""

import pytest

from caffe_compat.caffe_pb2 import RUN, TEST, TRAIN, NetParameter
from caffe_compat.errors import CaffeCompatError
from caffe_compat.prototxt.parser import parse, parse_tolerantly
from caffe_compat.prototxt.phase import select, select_skipped

# rules of the one layer, phase, level, stages, whether it stays
CASES = [
    ("", TEST, 0, [], True),
    ("include { phase: TRAIN }", TRAIN, 0, [], True),
    ("include { phase: TRAIN }", TEST, 0, [], False),
    ("exclude { phase: TRAIN }", TRAIN, 0, [], False),
    ("exclude { phase: TRAIN }", TEST, 0, [], True),
    ("include { phase: RUN }", TEST, 0, [], False),
    ("include { phase: RUN }", RUN, 0, [], True),
    ("include { phase: TEST }", RUN, 0, [], False),
    ("exclude { phase: RUN }", TEST, 0, [], True),
    ("exclude { phase: RUN }", RUN, 0, [], False),
    ("include {}", TEST, 0, [], True),
    ("exclude {}", TEST, 0, [], False),
    ("include { phase: TRAIN } include { stage: 'deploy' }", TEST, 0, ["deploy"], True),
    ("include { phase: TRAIN } include { stage: 'deploy' }", TEST, 0, [], False),
    ("exclude { phase: TRAIN } exclude { stage: 'deploy' }", TEST, 0, ["deploy"], False),
    ("include { min_level: 2 }", TEST, 1, [], False),
    ("include { min_level: 2 }", TEST, 2, [], True),
    ("include { max_level: 2 }", TEST, 2, [], True),
    ("include { max_level: 2 }", TEST, 3, [], False),
    ("include { max_level: -1 }", TEST, 0, [], False),
    ("include { min_level: 0 max_level: 0 }", TEST, 0, [], True),
    ("include { stage: 'a' stage: 'b' }", TEST, 0, ["a"], False),
    ("include { stage: 'a' stage: 'b' }", TEST, 0, ["b", "x", "a"], True),
    ("include { not_stage: 'a' not_stage: 'b' }", TEST, 0, ["b"], False),
    ("include { not_stage: 'a' }", TEST, 0, ["b"], True),
    ("include { stage: 'a' not_stage: 'b' phase: TEST min_level: 1 }", TEST, 1, ["a"], True),
    ("include { stage: 'a' not_stage: 'b' phase: TEST min_level: 1 }", TEST, 0, ["a"], False),
]


@pytest.mark.parametrize("rules, phase, level, stages, stays", CASES)
def test_rule(rules, phase, level, stages, stays):
    net = parse(f"layer {{ name: 'x' {rules} }}", NetParameter)
    assert [layer.name for layer in select(net, phase, level, stages).layer] == ["x"] * stays


def test_state_of_the_prototxt():
    """Its stages stay and the caller's follow; its phase and level give way."""
    net = parse(
        "state { phase: TRAIN level: 7 stage: 'own' }"
        "layer { name: 'a' include { stage: 'own' stage: 'given' phase: TEST max_level: 0 } }"
        "layer { name: 'b' phase: TRAIN }",
        NetParameter,
    )
    new = select(net, TEST, stages=["given"])
    assert (new.state.phase, new.state.level) == (TEST, 0)
    assert list(new.state.stage) == ["own", "given"]
    assert [(layer.name, layer.phase) for layer in new.layer] == [("a", TEST), ("b", TRAIN)]
    assert net.state.level == 7  # pure
    assert not net.layer[0].HasField("phase")


def test_layers_of_run_compute_as_in_test():
    net = parse("layer { name: 'a' } layer { name: 'b' phase: RUN }", NetParameter)
    assert [layer.phase for layer in select(net, RUN).layer] == [TEST, TEST]
    assert [layer.phase for layer in select(net, TEST).layer] == [TEST, TEST]


def test_include_with_exclude():
    net = parse("layer { name: 'x' include {} exclude {} }", NetParameter)
    with pytest.raises(CaffeCompatError, match="layer 'x' has include and exclude"):
        select(net, TEST)


def test_level_out_of_range():
    with pytest.raises(CaffeCompatError, match="level 4294967296"):
        select(NetParameter(), TEST, level=2**32)


@pytest.mark.parametrize("field", ["layer", "layers"])
def test_skipped_fields_follow_their_layers(field):
    """Two layers of one name and two phases: the index tells them apart, in every era."""
    text = (
        f"{field} {{ name: 'd' include {{ phase: TRAIN }} train_only: 1 }}"
        f"{field} {{ name: 'd' include {{ phase: TEST }} test_only: 1 }}"
        f"{field} {{ name: 'r' include {{ phase: TRAIN os: LINUX }} }} outermost: 1"
    )
    net, skipped = parse_tolerantly(text, NetParameter)
    assert [s.field for s in skipped] == ["train_only", "test_only", "os", "outermost"]
    assert [s.field for s in select_skipped(skipped, net, TEST)] == ["test_only", "os"]
    assert [s.field for s in select_skipped(skipped, net, TRAIN)] == ["train_only", "os"]
