"""The version of Caffe that this stands in for."""

from __future__ import annotations

__version__ = "1.0.0"
