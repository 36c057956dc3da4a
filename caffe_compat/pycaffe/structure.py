"""The parts of a live net, as pycaffe shows them: blobs, parameters, layers and their names."""

from __future__ import annotations

from collections.abc import Sequence

from .blob import Blob, BlobVec, DtypeVec, IntVec, LayerVec, Named, StringVec, named
from .layer import Layer
from .wiring import Wiring


class Structure:
    """The parts of a net by name and by index.

    Args:
        parts: the net.
    """

    def __init__(self, parts: Wiring) -> None:
        self._wiring = parts
        names = parts.layer_names
        self._layers = LayerVec(step.shown for step in parts.steps)
        self._blobs_dict = named(parts.blob_names, parts.blobs)
        self._params_dict = Named(
            (name, layer.blobs)
            for name, layer in zip(names, self._layers, strict=True)
            if len(layer.blobs)
        )
        self._index = {name: i for i, name in reversed([*enumerate(names)])}

    @property
    def blobs(self) -> Named[Blob]:
        """The blobs by name, in the order in which layers make them."""
        return self._blobs_dict

    @property
    def params(self) -> Named[BlobVec]:
        """The parameter blobs by layer."""
        return self._params_dict

    @property
    def layers(self) -> LayerVec:
        """The layers."""
        return self._layers

    @property
    def layer_dict(self) -> Named[Layer]:
        """The layers by name."""
        return named(self._wiring.layer_names, self._layers)

    @property
    def blob_loss_weights(self) -> Named[float]:
        """The loss weights of the blobs by name."""
        return named(self._wiring.blob_names, self._wiring.loss_weights)

    @property
    def inputs(self) -> list[str]:
        """The names of the Input layers' blobs."""
        return [self._wiring.blob_names[i] for i in self._wiring.inputs]

    @property
    def outputs(self) -> list[str]:
        """The names of the blobs that no layer reads, sorted."""
        return [self._wiring.blob_names[i] for i in self._wiring.outputs]

    @property
    def top_names(self) -> Named[list[str]]:
        """The names of each layer's tops."""
        return self._names(self._wiring.top_ids)

    @property
    def bottom_names(self) -> Named[list[str]]:
        """The names of each layer's bottoms."""
        return self._names(self._wiring.bottom_ids)

    def _names(self, ids: Sequence[Sequence[int]]) -> Named[list[str]]:
        blobs = self._wiring.blob_names
        return named(self._wiring.layer_names, [[blobs[i] for i in each] for each in ids])

    @property
    def _layer_names(self) -> StringVec:
        return StringVec(self._wiring.layer_names)

    @property
    def _blob_names(self) -> StringVec:
        return StringVec(self._wiring.blob_names)

    @property
    def _blobs(self) -> BlobVec:
        return BlobVec(self._wiring.blobs)

    @property
    def _blob_loss_weights(self) -> DtypeVec:
        return DtypeVec(self._wiring.loss_weights)

    @property
    def _inputs(self) -> IntVec:
        return IntVec(self._wiring.inputs)

    @property
    def _outputs(self) -> IntVec:
        return IntVec(self._wiring.outputs)

    def _top_ids(self, layer: int) -> IntVec:
        return IntVec(self._wiring.top_ids[layer])

    def _bottom_ids(self, layer: int) -> IntVec:
        return IntVec(self._wiring.bottom_ids[layer])
