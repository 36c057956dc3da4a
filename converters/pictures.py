"""`caffe-compat run --picture` and `--explain`: feature maps and heat maps as pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import typer

from ..files import make_folder
from ..images.explain import draw_heat, explain
from ..images.features import file_name
from ..images.predictor import Result
from ..images.reader import read
from ..images.tiles import show_maps, write_png
from ..net.net import Net
from ..net.preprocess import Preprocess
from .terminal import say, say_file


def write_maps(folder: Path, blobs: Sequence[str], results: Iterable[Result]) -> int:
    """Write a picture of each blob's feature maps for each image; return the failures."""
    unread = 0
    make_folder(folder)
    for result in results:
        if result.error is not None:
            unread += 1
            say(f"warning: skipped: {result.error}", err=True)
            continue
        for blob in blobs:
            path = folder / f"{Path(result.name).stem}-{file_name(blob)}.png"
            write_png(path, show_maps(result.outputs[blob]))
            say_file(path)
    return unread


def class_index(word: str, labels: Sequence[str] | None) -> int:
    """Return the index of a class, given as a number or by its label."""
    if word.isdecimal():
        return int(word)
    if labels is None or word not in labels:
        raise typer.BadParameter(f"no class {word!r}; give its index", param_hint="--explain")
    return labels.index(word)


def explain_all(
    net: Net, names: Sequence[str], target: int, preprocess: Preprocess | None, folder: Path
) -> None:
    """Write each image with a heat map of the evidence for a class."""
    make_folder(folder)
    for name in names:
        image = read(name)
        explanation = explain(net, image, target, preprocess)
        path = folder / f"{Path(name).stem}-{target}.png"
        write_png(path, draw_heat(image, explanation))
        say(
            f"{path}  '{explanation.scores}' {explanation.score:.6g}, "
            f"by the maps of '{explanation.blob}'"
        )
