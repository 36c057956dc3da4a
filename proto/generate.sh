#!/bin/sh
# Regenerate caffe_compat/caffe_pb2.py and .pyi from proto/caffe.proto. Needs grpcio-tools==1.62.3
# in the Python named by $PYTHON (default: python); see README.md.
set -eu
cd "$(dirname "$0")/.."
"${PYTHON:-python}" -m grpc_tools.protoc \
    -I caffe_compat/caffe.proto=proto/caffe.proto \
    --python_out=. --pyi_out=. caffe_compat/caffe.proto
