"""Smaller numbers for a converted model: float16, or 8-bit integers calibrated on pictures."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from ..errors import CaffeCompatError
from ..files import atomic
from ..layers.layer import Layer
from ..net.graph import Graph
from .devices import runtime
from .parity import Feeds

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def to_half(source: Path, target: Path) -> None:
    """Write a float32 model with weights and arithmetic in float16; its inputs stay as they are.

    Args:
        source: the float32 model's file.
        target: the file to write.

    Raises:
        CaffeCompatError: onnxruntime's converter cannot.
    """
    runtime()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _quietly(source, "float16"):
        half = convert_float_to_float16(onnx.load(source), keep_io_types=True)
        with atomic(target) as place:
            onnx.save(half, place)


def to_int8(
    source: Path, target: Path, feeds: Sequence[Feeds], exact: Collection[str] = ()
) -> None:
    """Write a float32 model quantised by onnxruntime: 8-bit weights per channel, QDQ.

    What comes after the last weights, such as Softmax and the decoding of boxes, stays float32.

    Args:
        source: the float32 model's file.
        target: the file to write.
        feeds: what the model is run on to learn the ranges of its blobs.
        exact: layers that stay float32 as well; see `with_places`.

    Raises:
        CaffeCompatError: onnxruntime's quantiser cannot.
    """
    runtime()
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory(dir=target.parent) as folder, atomic(target) as place:
        ready = Path(folder) / "ready.onnx"
        with _quietly(source, "int8"):
            quant_pre_process(
                str(source), str(ready), skip_symbolic_shape=True, skip_optimization=True
            )
            quantize_static(
                str(ready),
                str(place),
                _Calibration(feeds),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=_float_nodes(onnx.load(ready), exact),
            )


def with_places(graph: Graph) -> set[str]:
    """The layers that compute with places in a picture or indices, which 256 levels cannot say.

    These have no weights and let no gradient through: PriorBox, Proposal, ROIPooling, ArgMax, ...
    """
    return {
        node.layer.name
        for node in graph.nodes
        if node.bottoms and not node.blobs and type(node.layer).backward is Layer.backward
    }


def _float_nodes(model: onnx.ModelProto, exact: Collection[str]) -> list[str]:
    """The nodes that nothing with weights comes after, and those of the layers in `exact`."""
    kept = []
    before: set[str] = set()  # the tensors that weights come after
    for node in reversed(model.graph.node):
        if node.op_type in _WEIGHTED or not before.isdisjoint(node.output):
            before.update(node.input)
        else:
            kept.append(node.name)
        if node.name in exact or node.name.rpartition("/")[0] in exact:
            kept.append(node.name)
    return kept


class _Calibration:
    """Hands the feeds to onnxruntime's calibrator, one at a time."""

    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._feeds, self._left = feeds, iter(feeds)

    def get_next(self) -> Feeds | None:
        return next(self._left, None)

    def rewind(self) -> None:
        self._left = iter(self._feeds)

    def __len__(self) -> int:
        return len(self._feeds)


@contextlib.contextmanager
def _quietly(source: Path, what: str) -> Iterator[None]:
    """Onnxruntime's tools warn and log at length about what is as it should be."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except CaffeCompatError:
        raise
    except Exception as error:  # whatever onnxruntime's own code raises
        raise CaffeCompatError(f"{source}: onnxruntime cannot make it {what}: {error}") from error
    finally:
        root.setLevel(level)
