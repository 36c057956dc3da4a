"""proto/caffe.proto: the facts of Caffe's format, beside other registrations of it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pb2

from caffe_compat import caffe_pb2
from caffe_compat.caffe_pb2 import BlobProto, FillerParameter

GOLDEN = Path(__file__).parent / "golden"


def facts(container, prefix=""):
    """Yield 'Message.field number label type default packed' of each field, and enum values."""
    for enum in container.enum_type:
        for value in enum.value:
            yield f"{prefix}{enum.name}.{value.name} {value.number}"
    for message in container.nested_type if prefix else container.message_type:
        name = f"{prefix}{message.name}."
        for field in message.field:
            kind = ".".join(field.type_name.split(".")[2:]) or field.type
            default = field.default_value
            if default and field.type == 2:  # float: each runtime prints its own digits
                default = np.float32(default).item().hex()
            packed = " packed" if field.options.packed else ""
            yield f"{name}{field.name} {field.number} {field.label} {kind} {default!r}{packed}"
        yield from facts(message, name)


@pytest.fixture(scope="module")
def ours():
    file = descriptor_pb2.FileDescriptorProto()
    caffe_pb2.DESCRIPTOR.CopyToProto(file)
    return set(facts(file))


@pytest.mark.parametrize("fork, count", [("bvlc", 534), ("ssd", 193)])
def test_every_fact_is_here(ours, fork, count):
    # facts() of BVLC's file at 9b891540, and of the additions of weiliu89's ssd branch at 4817bf8b
    # without the four fields of its solver that clash with BVLC's.
    theirs = set((GOLDEN / f"schema_{fork}.txt").read_text().splitlines())
    assert len(theirs) == count
    assert theirs - ours == set()


def test_additions_keep_clear_of_bvlc():
    assert FillerParameter().a == 0
    assert FillerParameter.DESCRIPTOR.fields_by_name["a"].number == 1701
    fields = BlobProto.DESCRIPTOR.fields_by_name
    nvcaffe = ("raw_data_type", "raw_diff_type", "raw_data", "raw_diff")
    assert [fields[name].number for name in nvcaffe] == [10, 11, 12, 13]
    assert BlobProto.FLOAT16 == 2


def test_beside_another_caffe_proto():
    """A pool with pycaffe's caffe.proto accepts ours too, and bytes convert between them."""
    code = """
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message_factory import GetMessageClass
file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
message = file.message_type.add(name="NetParameter")
message.field.add(name="name", number=1, type=9, label=1)
message.field.add(name="input", number=3, type=9, label=3)
pool = descriptor_pool.Default()
pool.AddSerializedFile(file.SerializeToString())
theirs = GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))
from caffe_compat import caffe_pb2 as ours
net = ours.NetParameter.FromString(theirs(name="x", input=["data"]).SerializeToString())
assert (net.name, list(net.input)) == ("x", ["data"])
"""
    subprocess.run([sys.executable, "-c", code], check=True)
