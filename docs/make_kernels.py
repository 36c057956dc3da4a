"""Write the table of onnxruntime's CUDA kernels; run as `python docs/make_kernels.py`.

It is the registry itself, from which onnxruntime's docs/OperatorKernels.md is written. The script
needs onnxruntime-gpu and the libraries of CUDA, cuDNN and TensorRT, without which onnxruntime
cannot load the registry.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[1] / "caffe_compat" / "runtime" / "cuda_kernels.json"
_OPEN = 2**31 - 1  # the end of a kernel's opsets that onnxruntime leaves open


def table(kernels: Iterable[Any], version: str) -> str:
    """Return the table of the CUDA kernels of ONNX's own operators, as JSON.

    Args:
        kernels: onnxruntime's definitions of kernels.
        version: onnxruntime's.
    """
    types: dict[str, dict[tuple[int, int], dict[str, set[str]]]] = defaultdict(dict)
    for kernel in kernels:
        if kernel.provider == "CUDAExecutionProvider" and kernel.domain in ("", "ai.onnx"):
            since, until = kernel.version_range
            entry = types[kernel.op_name].setdefault((since, until), {})
            for name, allowed in kernel.type_constraints.items():
                entry.setdefault(name, set()).update(allowed)
    lines = []
    for operator, entries in sorted(types.items()):
        rows = [
            [since, None if until == _OPEN else until, _plain(constraints)]
            for (since, until), constraints in sorted(entries.items())
        ]
        lines.append(f"  {json.dumps(operator)}: {json.dumps(rows)}")
    head = f'"onnxruntime": {json.dumps(version)}'
    return "{" + head + ',\n"kernels": {\n' + ",\n".join(lines) + "\n}}\n"


def _plain(constraints: dict[str, set[str]]) -> dict[str, list[str]]:
    return {
        name: sorted(kind.removeprefix("tensor(").removesuffix(")") for kind in allowed)
        for name, allowed in sorted(constraints.items())
    }


def main() -> int:
    """Write the table."""
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_opkernel_def

    TABLE.write_text(
        table(get_all_opkernel_def(), onnxruntime.__version__), encoding="utf-8", newline="\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
