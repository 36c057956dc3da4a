"""Upgrade nets and solvers of every era to the current form, as Caffe does (upgrade_proto.cpp).

The eras: V0 (2013) `layers { layer { type: "conv" } }`, V1 (2014) `layers { type: CONVOLUTION }`,
V2 (2015 on) `layer { type: "Convolution" }`. Each step takes a net and returns a new one.
"""

from __future__ import annotations

from ..caffe_pb2 import NetParameter, SolverParameter
from ..errors import ParseError
from .v0 import upgrade_v0
from .v1 import move_transforms, upgrade_v1

_SOLVERS = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")


def upgrade(net: NetParameter) -> NetParameter:
    """Upgrade a net of any era to the current form.

    Caffe's order (UpgradeNetAsNeeded): V0 to V1, data layers' fields to transform_param, V1 to
    V2, `input` fields to an Input layer, BatchNorm's three parameters to learning rate zero.

    Args:
        net: the net as read; not changed.

    Raises:
        ParseError: the net mixes eras, or its inputs and their extents do not match.
        UnsupportedError: a V0 net has layer types that Caffe never had.
    """
    if any(layer.HasField("layer") for layer in net.layers):
        net = upgrade_v0(net)
    net = move_transforms(net)
    if net.layers:
        net = upgrade_v1(net)
    if net.input:
        net = _with_input_layer(net)
    for layer in net.layer:
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            for spec in layer.param:
                spec.lr_mult = spec.decay_mult = 0
    return net


def upgrade_solver(solver: SolverParameter) -> SolverParameter:
    """Turn the legacy `solver_type` into `type`.

    Args:
        solver: the solver as read; not changed.

    Raises:
        ParseError: it has both.
    """
    new = SolverParameter()
    new.CopyFrom(solver)
    if new.HasField("solver_type"):
        if new.HasField("type"):
            raise ParseError("a solver has either type or the older solver_type; not both")
        new.type = _SOLVERS[new.solver_type]
        new.ClearField("solver_type")
    return new


def _with_input_layer(net: NetParameter) -> NetParameter:
    """Put an Input layer in front; inputs without extents, as in old caffemodels, are dropped."""
    new = NetParameter()
    new.CopyFrom(net)
    for field in ("input", "input_shape", "input_dim", "layer"):
        new.ClearField(field)
    if net.input_shape or net.input_dim:
        count = len(net.input)
        if net.input_shape and len(net.input_shape) < count:
            raise ParseError(f"{count} inputs, but {len(net.input_shape)} input_shape")
        if not net.input_shape and len(net.input_dim) < 4 * count:
            raise ParseError(f"{count} inputs, but {len(net.input_dim)} input_dim, not four each")
        layer = new.layer.add(name="input", type="Input", top=net.input)
        for index in range(count):
            dims = net.input_dim[4 * index : 4 * index + 4]
            shape = layer.input_param.shape.add()
            shape.dim.extend(net.input_shape[index].dim if net.input_shape else dims)
    new.layer.extend(net.layer)
    return new
