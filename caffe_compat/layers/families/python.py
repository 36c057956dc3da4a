"""Python layers, whose code is not in the net."""

from __future__ import annotations

from ...caffe_pb2 import LayerParameter
from ...errors import UnsupportedError
from ..layer import Layer
from ..registry import layer


@layer(param="python_param", bottoms=(0, None), tops=(0, None))
class Python(Layer):
    """The class that python_param names, supplied with `caffe_compat.register`.

    Refused: unless the caller registers a Layer for its module and class.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        module, name = self.p.module, self.p.layer
        raise UnsupportedError(
            f"module '{module}', class '{name}' is Python code, which a converter must not run; "
            f'supply it as a Layer: @caffe_compat.register(module="{module}", layer="{name}")',
            remedies=("register",),
        )
