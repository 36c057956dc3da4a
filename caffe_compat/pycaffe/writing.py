"""HDF5Output of a live net, which writes a file."""

from __future__ import annotations

from ..training.outputs import OutputFile
from .steps import Computed


class OutputStep(Computed):
    """HDF5Output: the first forward writes its bottoms, and a second is refused."""

    def setup(self) -> None:
        """Shape nothing, and refuse a file that cannot be written."""
        super().setup()
        self._file = OutputFile(self.layer)

    def forward(self) -> None:
        """Write the file."""
        data, label = (blob.data for blob in self.bottoms)
        self._file.write(data, label)

    def backward(self) -> None:
        """Leave the gradients at the bottoms as they are, as Caffe does."""
