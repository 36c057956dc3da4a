"""onnxruntime's tools: silent, and with one plain error."""

from __future__ import annotations

import logging
import warnings

import pytest

from caffe_compat.errors import CaffeCompatError, ShapeError
from caffe_compat.runtime.tools import quiet


def test_warnings_and_the_root_log_are_silent_inside_only(caplog):
    with quiet("test"):
        warnings.warn("inside", stacklevel=1)  # an error anywhere else
        logging.warning("inside")  # noqa: LOG015  as onnxruntime's tools do
    logging.warning("outside")  # noqa: LOG015
    assert [record.getMessage() for record in caplog.records] == ["outside"]


def test_errors_of_this_package_pass():
    with pytest.raises(ShapeError, match=r"^own$"), quiet("test"):
        raise ShapeError("own")


def test_other_errors_name_the_task():
    with pytest.raises(CaffeCompatError, match=r"^onnxruntime cannot test: 'key'$"), quiet("test"):
        raise KeyError("key")
