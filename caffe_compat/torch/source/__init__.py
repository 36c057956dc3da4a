"""A net as Python source and a safetensors file, which run where this package is not installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ... import files
from ...errors import CaffeCompatError, UnsupportedError
from ..exporting import check_torch_alone, write_tensors
from ..module import CaffeModule
from .classes import Classes, declare, forward, shape_of
from .code import Code
from .layout import Alone, Group, lay_out, literal
from .names import Identifiers

_ATTRIBUTES = {*dir(nn.Module()), "forward"}
_STANDARD = ("collections", "math", "operator", "pathlib", "typing")
_TORCH = {"from torch import Tensor, nn"}

SOURCE, WEIGHTS = "model.py", "model.safetensors"
"""The names of the two files."""


def write_source(module: CaffeModule, folder: str | Path) -> list[Path]:
    """Write a module as `model.py` and `model.safetensors`.

    The source has a class with the layers by their names and a `forward` in their order, and a
    function `load` that returns the net with its weights, in `eval()`. It needs torch and
    safetensors alone. A layer that differs in training, other than Dropout and BatchNorm, runs in
    `eval()` only.

    Args:
        module: the module, which stays as it is.
        folder: a directory, which is created where it is missing.

    Returns:
        The paths of the two files.

    Raises:
        UnsupportedError: a layer runs in numpy, or is a module that is neither ours nor torch's.
        CaffeCompatError: the files cannot be written.
    """
    check_torch_alone(module)
    text, tensors = render(module)
    folder = Path(folder)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise CaffeCompatError(f"{folder}: cannot be written: {error.strerror}") from None
    write_tensors(tensors, folder / WEIGHTS)
    with files.atomic(folder / SOURCE) as temporary:
        temporary.write_text(text, "ascii")
    return [folder / SOURCE, folder / WEIGHTS]


def render(module: CaffeModule) -> tuple[str, dict[str, Tensor]]:
    """Return the source of a module, and the tensors that it loads by their keys.

    Raises:
        UnsupportedError: a submodule is neither ours nor torch's.
    """
    classes, own = Classes(), Identifiers(_ATTRIBUTES)
    targets = {node.target for node in module.graph.nodes if node.op == "call_module"}
    read = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    reads: dict[str, str] = {}
    init: list[str] = []
    tensors: dict[str, Tensor] = {}
    layers: dict[str, str] = {}
    for path, child in module.named_children():
        keys = {key: tensor for key, tensor in _tensors(child).items() if f"{path}.{key}" in read}
        if path not in targets and not keys:
            continue
        name = own.make(path)
        layer = layers[name] = module.names.layers.get(path, path)
        try:
            instance = classes.instance(child, called=path in targets)
        except UnsupportedError as error:
            raise UnsupportedError(f"layer '{layer}': {error}") from None
        init += lay_out(f"self.{name} = ", instance.call, indent=8)
        tensors |= {f"{name}.{key}": tensor for key, tensor in instance.tensors.items()}
        reads[path] = f"self.{name}"
        for key, tensor in keys.items():
            (new,) = (k for k, other in instance.tensors.items() if other is tensor)
            reads[f"{path}.{key}"] = f"self.{name}.{new}"
    for path, buffer in module.named_buffers(recurse=False):
        name = own.make(path)
        reads[path], tensors[name] = f"self.{name}", buffer
        init += declare(name, buffer, shape_of(buffer))
    title = classes.name(type(module).__name__)
    code = Code(module.graph, classes.copies, classes.taken, reads)
    lines = [
        f"class {title}(nn.Module):",
        '    """The net, its layers in the order of the prototxt."""',
        "",
        "    def __init__(self) -> None:",
        "        super().__init__()",
        *init,
        *_settings(tensors),
        "",
        *forward(code),
    ]
    return _file(classes, layers, lines, _load(title, module)), tensors


def _tensors(child: nn.Module) -> dict[str, Tensor]:
    return {**dict(child.named_parameters(remove_duplicate=False)), **dict(child.named_buffers())}


def _settings(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the statements that tie shared parameters, and keep still those that do not learn."""
    lines: list[str] = []
    owners: dict[int, str] = {}
    for key, tensor in tensors.items():
        owner = owners.setdefault(id(tensor), key)
        if owner != key:
            lines += lay_out(f"self.{key} = ", Alone(f"self.{owner}"), indent=8)
        elif isinstance(tensor, nn.Parameter) and not tensor.requires_grad:
            lines += lay_out(f"self.{key}.requires_grad_", Group("(", ["False"], ")"), indent=8)
    return lines


def _load(title: str, module: nn.Module) -> list[str]:
    """Return the function that reads the weights."""
    tensors = (*module.parameters(), *module.buffers())
    dtype = next((x.dtype for x in tensors if x.is_floating_point()), torch.float32)
    changed = "" if dtype == torch.float32 else f".to({dtype})"
    return [
        f"def load(path: str | Path | None = None) -> {title}:",
        '    """Return the net with its weights, in `eval()`.',
        "",
        f"    path: the weights; by default {WEIGHTS} beside this file.",
        '    """',
        f"    net = {title}(){changed}",
        f'    file = Path(__file__).with_name("{WEIGHTS}") if path is None else path',
        "    net.load_state_dict(load_file(file))",
        "    return net.eval()",
    ]


def _file(
    classes: Classes, layers: Mapping[str, str], net: Sequence[str], load: Sequence[str]
) -> str:
    """Return the whole text, its parts two lines apart."""
    copies = classes.copies
    own = {"from pathlib import Path", "from safetensors.torch import load_file"}
    imports = sorted(copies.imports | own | {"import torch"} | _TORCH, key=_place)
    groups = [[line for line in imports if _is_standard(line) == first] for first in (True, False)]
    changed = {name: layer for name, layer in layers.items() if name != layer}
    constants = list(copies.constants.values())
    if changed:
        entries = [f"{literal(name)}: {literal(layer)}" for name, layer in changed.items()]
        constants.append("# The layers whose names in Caffe are no identifiers, or too long.")
        constants += lay_out("LAYERS = ", Group("{", entries, "}"))
    head = [
        '"""A Caffe net in PyTorch, written by caffe_compat: `load()` returns it."""',
        "from __future__ import annotations",
        *("\n".join(group) for group in groups),
    ]
    text = "\n\n".join(head + (["\n".join(constants)] if constants else []))
    parts = [*copies.definitions.values(), *map("\n".join, classes.texts.values())]
    return "\n\n\n".join([text, *parts, "\n".join(net), "\n".join(load)]) + "\n"


def _is_standard(line: str) -> bool:
    return line.split()[1].partition(".")[0] in _STANDARD


def _place(line: str) -> tuple[bool, str]:
    """Return an import's place: plain ones before those of names."""
    return line.startswith("from"), line.lower()
