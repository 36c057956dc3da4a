"""Mutate files of one kind without end, guided by coverage; needs `pip install atheris`.

    python -m tests.hostile.fuzz net FOLDER -max_total_time=600

FOLDER keeps the inputs that reached new code, from one run to the next, and one that fails stays
beside it as `crash-*`. The arguments behind it are libFuzzer's.
"""

from __future__ import annotations

import random
import sys
import tempfile
import warnings
from pathlib import Path

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["caffe_compat", "google.protobuf.text_format"]):
    from .kinds import KINDS
from caffe_compat.errors import CaffeCompatError

from .mutation import mutate


def main() -> None:
    """Run libFuzzer on the kind that the command line names."""
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", ResourceWarning)
    name, folder, *options = sys.argv[1:]
    kind, corpus = KINDS[name], Path(folder)
    examples = kind.examples()
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(examples):
        (corpus / f"example-{number}").write_bytes(data)
    scratch = tempfile.TemporaryDirectory()
    path = Path(scratch.name) / kind.name

    def read(data: bytes) -> None:
        path.write_bytes(data)
        try:
            kind.read(path)
        except CaffeCompatError as error:
            assert str(error).isprintable()

    def change(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.4:
            return atheris.Mutate(data, most)[:most]
        return mutate(data or b"\n", examples, rng)[:most]

    own = [str(corpus), "-max_len=200000", f"-artifact_prefix={corpus}-"]
    atheris.Setup([sys.argv[0], *own, *options], read, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
