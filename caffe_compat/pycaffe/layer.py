"""`caffe.Layer`: what net.layers shows, and the class that Python layers derive from."""

from __future__ import annotations

from typing import Any

from .blob import Blob, BlobVec


class Layer:
    """A layer of a live net.

    A Python layer derives from it and defines `setup`, `reshape`, `forward` and `backward`. The
    net sets `param_str` and `phase` before it calls `setup`; parameters are made there by
    `self.blobs.add_blob(*shape)`.

    Attributes:
        blobs: its parameter blobs.
        param_str: what the prototxt gives it as text.
        phase: caffe.TRAIN or caffe.TEST.
    """

    blobs: BlobVec
    param_str: str
    param_str_: str  # its name before 2015
    phase: int
    _type = "Python"
    _step: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Layer:
        """Make the blobs before any __init__ of a subclass, which may not call this class's."""
        self = super().__new__(cls)
        self.blobs = BlobVec()
        return self

    def __init__(self, param: Any = None) -> None:
        pass

    @property
    def type(self) -> str:
        """The layer's type."""
        return self._type

    def setup(self, bottom: list[Blob], top: list[Blob]) -> None:
        """Make the layer ready (LayerSetUp): once, when the net is built."""
        if self._step is not None:
            self._step.setup()

    def reshape(self, bottom: list[Blob], top: list[Blob]) -> None:
        """Give the tops their shapes; called before every forward."""
        if self._step is not None:
            self._step.reshape()

    def __repr__(self) -> str:
        return f"<Layer {self.type}>"


def show(step: Any, type: str, blobs: BlobVec) -> Layer:
    """Return what net.layers shows of a layer that is not the user's."""
    layer = Layer()
    layer._step, layer._type, layer.blobs = step, type, blobs
    return layer
