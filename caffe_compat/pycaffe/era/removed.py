"""Names that packages removed since, put back as soon as the package is imported."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from ..alias import Alias
from . import numbers


def restore() -> None:
    """Put the names back in what is imported, now and later."""
    for name, change in [*_PATCHES.items()]:
        patch(name, change)


def patch(name: str, change: Callable[[Any], None]) -> None:
    """Change a module when it is imported, or now if it is."""
    _PATCHES[name] = change
    if name in sys.modules:
        change(sys.modules[name])
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Lets the other finders find a module, and patches it when it has been executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname == "scipy.misc":
            return _scipy_misc()
        if fullname not in _PATCHES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.abc.Loader):
            spec.loader = _Patched(spec.loader, _PATCHES[fullname])
        return spec


class _Patched(importlib.abc.Loader):
    """A loader that patches what another has loaded."""

    def __init__(self, loader: Any, patch: Callable[[Any], None]) -> None:
        self._loader, self._patch = loader, patch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._patch(module)


def _scipy_misc() -> importlib.machinery.ModuleSpec:
    """Return a spec for what stands in for scipy.misc, which is empty since 1.12 and then gone."""
    return importlib.machinery.ModuleSpec("scipy.misc", Alias(f"{__package__}.scipy_misc"))


def _pillow(image: Any) -> None:
    resampling = getattr(image, "Resampling", image)
    numbers.add(
        image, ANTIALIAS=resampling.LANCZOS, LINEAR=resampling.BILINEAR, CUBIC=resampling.BICUBIC
    )
    for kind in (image.Image,):
        if not hasattr(kind, "tostring"):
            kind.tostring = kind.tobytes
    numbers.add(image, fromstring=image.frombytes)


def _image_font(module: Any) -> None:
    def getsize(self: Any, text: str, *args: Any, **options: Any) -> tuple[int, int]:
        _, _, right, bottom = self.getbbox(text, *args, **options)
        return int(right), int(bottom)

    for kind in (module.FreeTypeFont, module.ImageFont):
        if not hasattr(kind, "getsize"):
            kind.getsize = getsize


def _image_draw(module: Any) -> None:
    def textsize(self: Any, text: str, font: Any = None, **options: Any) -> tuple[int, int]:
        _, _, right, bottom = self.textbbox((0, 0), text, font, **options)
        return int(right), int(bottom)

    if not hasattr(module.ImageDraw, "textsize"):
        module.ImageDraw.textsize = textsize


def _unittest(case: Any) -> None:
    kind = case.TestCase
    for old, new in (
        ("assertEquals", "assertEqual"),
        ("assertNotEquals", "assertNotEqual"),
        ("assert_", "assertTrue"),
        ("failUnless", "assertTrue"),
        ("failIf", "assertFalse"),
        ("assertAlmostEquals", "assertAlmostEqual"),
        ("assertNotAlmostEquals", "assertNotAlmostEqual"),
        ("assertRegexpMatches", "assertRegex"),
        ("assertNotRegexpMatches", "assertNotRegex"),
        ("assertRaisesRegexp", "assertRaisesRegex"),
        ("assertItemsEqual", "assertCountEqual"),
    ):
        if not hasattr(kind, old):
            setattr(kind, old, getattr(kind, new))


def _collections(module: Any) -> None:
    from collections import abc

    numbers.add(module, **{name: getattr(abc, name) for name in abc.__all__})


def _time(module: Any) -> None:
    numbers.add(module, clock=module.perf_counter)


def _inspect(module: Any) -> None:
    numbers.add(module, getargspec=lambda function: module.getfullargspec(function)[:4])


def _skimage_io(module: Any) -> None:
    """`as_grey` was the name of `as_gray` until 0.16."""
    plain = module.imread

    def imread(fname: Any, as_gray: bool = False, *args: Any, **options: Any) -> Any:
        return plain(fname, options.pop("as_grey", as_gray), *args, **options)

    module.imread = imread


def _yaml(module: Any) -> None:
    """`yaml.load(text)` needs a loader since PyYAML 6."""
    plain = module.load

    def load(stream: Any, Loader: Any = None) -> Any:  # noqa: N803 - PyYAML's name
        return plain(stream, Loader or module.SafeLoader)

    module.load = load


_PATCHES: dict[str, Callable[[Any], None]] = {
    "numpy": numbers.restore,
    "numpy.random": numbers.restore_random,
    "PIL.Image": _pillow,
    "PIL.ImageFont": _image_font,
    "PIL.ImageDraw": _image_draw,
    "unittest.case": _unittest,
    "collections": _collections,
    "time": _time,
    "inspect": _inspect,
    "skimage.io": _skimage_io,
    "yaml": _yaml,
}
