"""`caffe-compat data`: Caffe's tools for databases of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

from ..data.imageset import ImageOptions, convert_imageset
from ..data.mean import compute_image_mean, write_mean
from ..data.summary import Summary, contact_sheet, summarize
from ..files import atomic, check_outputs, check_suffix
from ..options import SEED
from ..text import say_shape, table
from . import options
from .grouping import ungroup
from .terminal import say, say_file

_ROWS = 20  # of a table of shapes or labels; a database may have thousands


Database = Annotated[Path, typer.Argument(metavar="DB", show_default=False)]


def _flag(name: str, **more: Any) -> typer.models.OptionInfo:
    """Return an option by its name, and by the one with underscores that Caffe's tools have."""
    option: typer.models.OptionInfo = typer.Option(
        f"--{name}", f"--{name.replace('-', '_')}", **more
    )
    return option


@dataclass(frozen=True)
class Images:
    """How images are stored."""

    gray: Annotated[bool, typer.Option("--gray", help="One channel in place of three.")] = False
    resize_height: Annotated[int, _flag("resize-height", metavar="N", help="Resize to it.")] = 0
    resize_width: Annotated[int, _flag("resize-width", metavar="N", help="Resize to it.")] = 0
    check_size: Annotated[bool, _flag("check-size", help="Refuse images of several sizes.")] = False
    encoded: Annotated[
        bool, typer.Option("--encoded", help="Store image files, of each one's own format.")
    ] = False
    encode_type: Annotated[
        str, _flag("encode-type", metavar="png|jpg|...", help="Store image files of this format.")
    ] = ""

    def packed(self) -> ImageOptions:
        """Return them packed for the library."""
        return ImageOptions(
            self.gray,
            self.resize_height,
            self.resize_width,
            self.check_size,
            self.encoded,
            self.encode_type,
        )


def convert(
    root: Annotated[str, typer.Argument(metavar="ROOT/", show_default=False)],
    list_file: Annotated[Path, typer.Argument(metavar="LIST", show_default=False)],
    out: Database,
    *,
    backend: Annotated[
        options.Backend, typer.Option(help="The kind of database.")
    ] = options.Backend.LMDB,
    images: Images,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Shuffle the lines first.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="The seed of --shuffle.")] = SEED,
    skip_bad: options.SkipBad = False,
) -> None:
    """Write a database of the images that a list names.

    LIST has a path below ROOT/ and a label in each line. DB must not exist.
    """
    done = convert_imageset(
        root,
        list_file,
        out,
        images.packed(),
        backend="lmdb" if backend is options.Backend.LMDB else "leveldb",
        shuffle=shuffle,
        seed=seed,
        skip_bad=skip_bad,
    )
    say(f"{out}  {done.count:,} records{_and_skipped(done.skipped)}")


def mean(
    database: Database,
    out: Annotated[Path | None, typer.Argument(metavar="OUT", show_default=False)] = None,
    *,
    backend: Annotated[options.Backend | None, typer.Option(help="The kind of database.")] = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Compute the mean image of a database, and write it as a binaryproto."""
    check_outputs([out])
    kind: Any = None if backend is None else backend.value
    found = compute_image_mean(database, kind, skip_bad=skip_bad)
    if out is not None:
        write_mean(found.image, out)
        say_file(out)
    say(
        f"{found.records:,} images of {say_shape(found.image.shape)}"
        f"{_and_skipped(len(found.skipped))}"
    )
    for channel, value in enumerate(found.channels):
        say(f"mean_value channel [{channel}]: {value:.6g}")


def show(
    database: Database,
    *,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="OUT.png", help="Draw the first images side by side."),
    ] = None,
    images: Annotated[
        int, typer.Option("--images", metavar="N", min=1, help="How many images to draw.")
    ] = 64,
    skip_bad: options.SkipBad = False,
) -> None:
    """Show what is in a database: records, shapes, labels."""
    if sheet is not None:
        check_outputs([sheet])
        check_suffix(sheet, ".png")
    for line in _lines(database, summarize(database, skip_bad=skip_bad)):
        say(line)
    if sheet is not None:
        picture = Image.fromarray(contact_sheet(database, most=images, skip_bad=skip_bad))
        with atomic(sheet) as target:
            picture.save(target, format="PNG")
        say_file(sheet)


def _lines(database: Path, found: Summary) -> Iterator[str]:
    kinds = ", ".join(f"{count:,} {_kind(kind)}" for kind, count in found.kinds.most_common())
    yield (
        f"{database}  {found.backend}, {found.count:,} records, {found.size:,} bytes"
        f"{_and_skipped(len(found.skipped))}"
    )
    yield f"{kinds or 'nothing that can be read'}"
    shapes = [(say_shape(shape), f"{count:,}") for shape, count in found.shapes.most_common()]
    yield from _table("shape", shapes)
    labels = sorted(found.labels.items(), key=lambda item: (item[0] is not None, item[0] or 0))
    names = [("none" if label is None else str(label), f"{count:,}") for label, count in labels]
    yield from _table("label", names)
    if found.boxes:
        counted = [(str(label), f"{count:,}") for label, count in sorted(found.boxes.items())]
        yield from _table("boxes' label", counted)


def _kind(kind: str) -> str:
    return kind if kind.startswith("encoded") else f"as {kind}"


def _table(name: str, rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield from table([(name, "count"), *rows[:_ROWS]])
    if len(rows) > _ROWS:
        yield f"and {len(rows) - _ROWS:,} more"


def _and_skipped(count: int) -> str:
    return f", and {count:,} that cannot be read" if count else ""


app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
for _name, _command in (
    ("convert-imageset", convert),
    ("compute-image-mean", mean),
    ("show", show),
):
    app.command(_name)(ungroup(_command))


@app.callback()
def _data() -> None:
    """Make databases of images, and look into them."""
