"""The name of a layer in front of its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ..caffe_pb2 import LayerParameter
from ..errors import CaffeCompatError


@contextmanager
def named(proto: LayerParameter) -> Iterator[None]:
    """Put the layer in front of the message of any error raised inside, once; no other code does.

    Inside, infinity and NaN are results like others, as in Caffe, and no warnings.
    """
    place = f"layer '{proto.name}' ({proto.type})"
    try:
        with np.errstate(all="ignore"):
            yield
    except CaffeCompatError as error:
        if str(error).startswith(f"{place}: "):
            raise
        raise error.within(place) from error
    except MemoryError as error:
        reason = str(error) or "not enough memory"
        raise CaffeCompatError(f"{place}: {reason}") from error
