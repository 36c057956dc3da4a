"""A predictor as a value, from which each process builds its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..net.net import Net
from ..net.preprocess import Preprocess
from ..onnx.lowering import Lowered
from ..runtime.devices import ConvSearch
from ..runtime.session import Session
from ..types import AnyArray
from .predictor import Predictor


@dataclass(frozen=True)
class Recipe:
    """The arguments of a predictor and of its session.

    Attributes:
        model: as for Session.
        preprocess: as for Predictor.
        feeds: as for Predictor.
        device: as for Session, like all that follow.
        blobs: blobs to return beside the net's outputs.
        threads: the number of threads of one operator.
        cuda_graph: record the GPU's work once, then replay it.
        conv_search: how cuDNN chooses the algorithms of convolutions.
    """

    model: Net | Lowered | str | Path | bytes
    preprocess: Preprocess | None = None
    feeds: Mapping[str, AnyArray] = field(default_factory=dict)
    device: str = "auto"
    blobs: tuple[str, ...] = ()
    threads: int = 0
    cuda_graph: bool = False
    conv_search: ConvSearch | None = None

    def predictor(self) -> Predictor:
        """Build the predictor in this process."""
        session = Session(
            self.model,
            self.device,
            blobs=self.blobs,
            threads=self.threads,
            cuda_graph=self.cuda_graph,
            conv_search=self.conv_search,
        )
        return Predictor(session, self.preprocess, self.feeds)
