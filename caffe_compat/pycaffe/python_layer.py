"""Python layers: classes of the user's that a prototxt names, run here and nowhere else."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from .. import caffe_pb2
from ..errors import UnsupportedError
from . import mode
from .blob import RawBlobVec
from .layer import Layer
from .proto import caffe_pb2 as messages
from .steps import Step


def is_importable(proto: caffe_pb2.LayerParameter) -> bool:
    """Return whether the script has the module that a Python layer names.

    This package's form of a well-known one, py-faster-rcnn's ProposalLayer, is for scripts that
    have not.
    """
    try:
        return importlib.util.find_spec(proto.python_param.module) is not None
    except (ModuleNotFoundError, ValueError):
        return False


class Phase(int):
    """0 or 1, as BVLC's layers are told; py-faster-rcnn's read it by its name, `str(phase)`."""

    def __str__(self) -> str:
        return "TRAIN" if self == mode.TRAIN else "TEST"


class PythonStep(Step):
    """A Python layer in its place.

    The module that the prototxt names is imported, as pycaffe does: whoever runs a script with
    such a net runs that code. Its exceptions reach the script as they are.

    Raises:
        UnsupportedError: the name is not that of a subclass of `caffe.Layer`.
    """

    def __init__(self, proto: caffe_pb2.LayerParameter) -> None:
        super().__init__(proto)
        named = proto.python_param
        cls = getattr(importlib.import_module(named.module), named.layer)
        if not (isinstance(cls, type) and issubclass(cls, Layer)):
            with self.named():
                raise UnsupportedError(
                    f"{named.module}.{named.layer} is no subclass of caffe.Layer; nothing else "
                    "is run by the name that a prototxt gives"
                )
        self.shown: Any = cls(messages.LayerParameter.FromString(proto.SerializeToString()))
        self.shown.param_str = self.shown.param_str_ = named.param_str
        self.shown.phase = Phase(proto.phase)

    def setup(self) -> None:
        self.shown.setup(RawBlobVec(self.bottoms), RawBlobVec(self.tops))
        self.reshape()

    def reshape(self) -> None:
        self.shown.reshape(RawBlobVec(self.bottoms), RawBlobVec(self.tops))

    def forward(self) -> None:
        self.shown.forward(RawBlobVec(self.bottoms), RawBlobVec(self.tops))

    def backward(self) -> None:
        self.shown.backward(RawBlobVec(self.tops), list(self.propagate), RawBlobVec(self.bottoms))
