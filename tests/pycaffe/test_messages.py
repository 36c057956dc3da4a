"""caffe.proto.caffe_pb2: Caffe's names in a pool of their own."""

from __future__ import annotations

import copy
import pickle

import pytest
from google.protobuf import descriptor_pool, text_format

from caffe_compat import caffe_pb2 as ours
from caffe_compat.pycaffe.proto import caffe_pb2 as theirs

from .nets import SIMPLE


def test_every_message_and_enum_has_caffes_name():
    for name in ours.DESCRIPTOR.message_types_by_name:
        assert getattr(theirs, name).DESCRIPTOR.full_name == f"caffe.{name}"
    assert (theirs.TRAIN, theirs.TEST) == (0, 1)
    assert theirs.Phase.Name(1) == "TEST"
    assert theirs.PoolingParameter.MAX == 0
    assert theirs.V1LayerParameter.LayerType.Value("CONVOLUTION") == 4


def test_protobufs_default_pool_knows_nothing_of_it():
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("caffe.NetParameter")


def test_text_and_wire_are_the_packages_own():
    net = text_format.Parse(SIMPLE, theirs.NetParameter())
    mine = text_format.Parse(SIMPLE, ours.NetParameter())
    assert net.SerializeToString() == mine.SerializeToString()
    assert str(net) == str(mine)
    assert theirs.NetParameter.FromString(mine.SerializeToString()) == net


def test_messages_are_copied_and_pickled():
    net = text_format.Parse(SIMPLE, theirs.NetParameter())
    assert copy.deepcopy(net) == net
    assert pickle.loads(pickle.dumps(net)) == net
