"""`caffe.proto`: the schema under Caffe's own names."""

from __future__ import annotations

from . import caffe_pb2

__all__ = ["caffe_pb2"]
