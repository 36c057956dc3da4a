"""Nets and solvers of every era, brought to the current form as Caffe does it (upgrade_proto.cpp).

The eras: V0 (2013) `layers { layer { type: "conv" } }`, V1 (2014) `layers { type: CONVOLUTION }`,
V2 (2015 on) `layer { type: "Convolution" }`. Each step takes a net and returns a new one.
"""

from __future__ import annotations

from ..caffe_pb2 import LayerParameter, NetParameter, ParamSpec, SolverParameter, V1LayerParameter
from ..errors import ParseError, UnsupportedError

_LayerType = V1LayerParameter.LayerType

# V0's type strings and the V1 enum names that replaced them.
_V0_TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}

_CONV, _POOL, _DENSE = "convolution_param", "pooling_param", "inner_product_param"
_DATA, _IMAGES, _WINDOWS = "data_param", "image_data_param", "window_data_param"
_HDF5 = "hdf5_data_param"

# A V0 field, its name in V1, and the sub-message that has it, by V0 type. Of any other type the
# field says nothing: Caffe logs it and goes on.
_V0_FIELDS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("num_output", "num_output", {"conv": _CONV, "innerproduct": _DENSE}),
    ("biasterm", "bias_term", {"conv": _CONV, "innerproduct": _DENSE}),
    ("weight_filler", "weight_filler", {"conv": _CONV, "innerproduct": _DENSE}),
    ("bias_filler", "bias_filler", {"conv": _CONV, "innerproduct": _DENSE}),
    ("pad", "pad", {"conv": _CONV, "pool": _POOL}),
    ("kernelsize", "kernel_size", {"conv": _CONV, "pool": _POOL}),
    ("group", "group", {"conv": _CONV}),
    ("stride", "stride", {"conv": _CONV, "pool": _POOL}),
    ("pool", "pool", {"pool": _POOL}),
    ("dropout_ratio", "dropout_ratio", {"dropout": "dropout_param"}),
    ("local_size", "local_size", {"lrn": "lrn_param"}),
    ("alpha", "alpha", {"lrn": "lrn_param"}),
    ("beta", "beta", {"lrn": "lrn_param"}),
    ("k", "k", {"lrn": "lrn_param"}),
    (
        "source",
        "source",
        {
            "data": _DATA,
            "hdf5_data": _HDF5,
            "images": _IMAGES,
            "window_data": _WINDOWS,
            "infogain_loss": "infogain_loss_param",
        },
    ),
    (
        "batchsize",
        "batch_size",
        {"data": _DATA, "hdf5_data": _HDF5, "images": _IMAGES, "window_data": _WINDOWS},
    ),
    ("rand_skip", "rand_skip", {"data": _DATA, "images": _IMAGES}),
    ("shuffle_images", "shuffle", {"images": _IMAGES}),
    ("new_height", "new_height", {"images": _IMAGES}),
    ("new_width", "new_width", {"images": _IMAGES}),
    ("concat_dim", "concat_dim", {"concat": "concat_param"}),
    ("det_fg_threshold", "fg_threshold", {"window_data": _WINDOWS}),
    ("det_bg_threshold", "bg_threshold", {"window_data": _WINDOWS}),
    ("det_fg_fraction", "fg_fraction", {"window_data": _WINDOWS}),
    ("det_context_pad", "context_pad", {"window_data": _WINDOWS}),
    ("det_crop_mode", "crop_mode", {"window_data": _WINDOWS}),
)

# V0 fields that became transform_param's whatever the type.
_V0_TRANSFORM = {
    "scale": "scale",
    "meanfile": "mean_file",
    "cropsize": "crop_size",
    "mirror": "mirror",
}

_TRANSFORM = ("scale", "mean_file", "crop_size", "mirror")
_DATA_TYPES = {"DATA": _DATA, "IMAGE_DATA": _IMAGES, "WINDOW_DATA": _WINDOWS}

# Where V1's enum name is not the V2 name with underscores and capitals put in.
_V2_TYPES = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
    # of forks
    "BN": "BN",
    "CONVOLUTION3D": "Convolution3D",
    "POOLING3D": "Pooling3D",
    "PRELU": "PReLU",
    "ROIPOOLING": "ROIPooling",
}

# V1 fields copied as they are: everything that V2 has under the same name and type.
_V1_COPIED = ("bottom", "top", "name", "include", "exclude", "blobs", "loss_weight")

_SOLVERS = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")


def upgrade(net: NetParameter) -> NetParameter:
    """Brings a net of any era to the current form; the net given is not changed.

    Caffe's order (UpgradeNetAsNeeded): V0 to V1, data layers' fields to transform_param, V1 to
    V2, `input` fields to an Input layer, BatchNorm's three parameters to learning rate zero.

    Raises:
        ParseError: the net mixes eras, or has inputs and extents that do not match.
        UnsupportedError: a V0 layer's type is none that Caffe ever upgraded.
    """
    new = NetParameter()
    new.CopyFrom(net)
    if any(layer.HasField("layer") for layer in new.layers):
        new = _from_v0(new)
    _move_transforms(new)
    if new.layers:
        new = _from_v1(new)
    if new.input:
        new = _with_input_layer(new)
    for layer in new.layer:
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            for spec in layer.param:
                spec.lr_mult = spec.decay_mult = 0
    return new


def upgrade_solver(solver: SolverParameter) -> SolverParameter:
    """Turns the legacy `solver_type` into `type`; the solver given is not changed.

    Raises:
        ParseError: it states both.
    """
    new = SolverParameter()
    new.CopyFrom(solver)
    if new.HasField("solver_type"):
        if new.HasField("type"):
            raise ParseError("a solver states either type or the older solver_type; not both")
        new.type = _SOLVERS[new.solver_type]
        new.ClearField("solver_type")
    return new


def _from_v0(net: NetParameter) -> NetParameter:
    """V0 to V1. Of the net's own fields Caffe keeps these four only."""
    unknown = [
        f"'{layer.layer.type}' (layer '{layer.layer.name}')"
        for layer in net.layers
        if layer.layer.HasField("type") and layer.layer.type not in (*_V0_TYPES, "padding")
    ]
    if unknown:
        raise UnsupportedError(f"unknown layer types in a net of 2013 (V0): {', '.join(unknown)}")
    new = NetParameter(layers=[_v1_layer(layer) for layer in _fold_padding(net)])
    new.input.extend(net.input)
    new.input_dim.extend(net.input_dim)
    for field in ("name", "force_backward"):
        if net.HasField(field):
            setattr(new, field, getattr(net, field))
    return new


def _fold_padding(net: NetParameter) -> list[V1LayerParameter]:
    """Drops V0's padding layers: the convolution or pooling that follows pads instead."""
    producers: dict[str, V1LayerParameter | None] = dict.fromkeys(net.input)
    kept = []
    for old in net.layers:
        layer = V1LayerParameter()
        layer.CopyFrom(old)
        if old.layer.type != "padding":
            kept.append(layer)
        for index, bottom in enumerate(old.bottom):
            name = old.layer.name
            if bottom not in producers:
                raise ParseError(f"Unknown bottom blob '{bottom}' (layer '{name}')")
            source = producers[bottom]
            if source is None or source.layer.type != "padding":
                continue
            if old.layer.type not in ("conv", "pool"):
                raise ParseError(
                    f"layer '{name}' ({old.layer.type}): a padding layer feeds "
                    "a convolution or a pooling layer only"
                )
            if not len(old.bottom) == len(source.bottom) == len(source.top) == 1:
                raise ParseError(
                    f"layer '{source.layer.name}' (padding): it, and the layer "
                    f"'{name}' it feeds, take one blob each"
                )
            layer.layer.pad = source.layer.pad
            layer.bottom[index] = source.bottom[0]
        producers.update(dict.fromkeys(old.top, old))
    return kept


def _v1_layer(layer: V1LayerParameter) -> V1LayerParameter:
    """One layer from V0 to V1. What stood beside the inner `layer` is lost, as in Caffe."""
    old = layer.layer
    if not layer.HasField("layer"):  # Caffe goes on with a layer of no name and no type
        raise ParseError(f"layer '{layer.name}' is of 2014 (V1), among layers of 2013 (V0)")
    new = V1LayerParameter(bottom=layer.bottom, top=layer.top, type=_V0_TYPES.get(old.type))
    if old.HasField("name"):
        new.name = old.name
    for field in ("blobs", "blobs_lr", "weight_decay"):
        getattr(new, field).extend(getattr(old, field))
    for field, name, homes in _V0_FIELDS:
        if old.type in homes and old.HasField(field):
            _assign(getattr(new, homes[old.type]), name, getattr(old, field))
    for field, name in _V0_TRANSFORM.items():
        if old.HasField(field):
            setattr(new.transform_param, name, getattr(old, field))
    if old.type == "hdf5_output" and old.HasField("hdf5_output_param"):
        new.hdf5_output_param.CopyFrom(old.hdf5_output_param)
    return new


def _assign(message: object, name: str, value: object) -> None:
    """Sets a field, whether it is one value, a message, or a list that gets its only value."""
    if hasattr(value, "ListFields"):
        getattr(message, name).CopyFrom(value)
    elif hasattr(getattr(message, name), "append"):
        getattr(message, name).append(value)
    else:
        setattr(message, name, value)


def _move_transforms(net: NetParameter) -> None:
    """Moves scale, mean_file, crop_size and mirror of V1 data layers to transform_param.

    Where one layer of the net has such a field, Caffe creates both messages in every data
    layer of the net, empty or not.
    """
    found = [
        (layer, getattr(layer, _DATA_TYPES[name]))
        for layer in net.layers
        if (name := _LayerType.Name(layer.type)) in _DATA_TYPES
    ]
    if not any(param.HasField(field) for _, param in found for field in _TRANSFORM):
        return
    for layer, param in found:
        param.SetInParent()
        layer.transform_param.SetInParent()
        for field in _TRANSFORM:
            if param.HasField(field):
                setattr(layer.transform_param, field, getattr(param, field))
                param.ClearField(field)


def _from_v1(net: NetParameter) -> NetParameter:
    if net.layer:
        raise ParseError(
            "the net has both 'layer' (current) and 'layers' (of 2014 and before): "
            "write every layer in the current form"
        )
    new = NetParameter()
    new.CopyFrom(net)
    new.ClearField("layers")
    new.layer.extend(_v2_layer(layer) for layer in net.layers)
    return new


def _v2_layer(old: V1LayerParameter) -> LayerParameter:
    new = LayerParameter()
    for descriptor, value in old.ListFields():
        name = descriptor.name
        if name in _V1_COPIED or name.endswith("_param"):
            _copy(new, name, value)
    if old.HasField("type"):
        name = _LayerType.Name(old.type)
        words = "".join(word.capitalize() for word in name.split("_"))
        new.type = _V2_TYPES.get(name, words)
    parallel = (
        ("name", old.param),
        ("share_mode", old.blob_share_mode),
        ("lr_mult", old.blobs_lr),
        ("decay_mult", old.weight_decay),
    )
    new.param.extend(ParamSpec() for _ in range(max(len(values) for _, values in parallel)))
    for field, values in parallel:
        for spec, value in zip(new.param, values, strict=False):
            setattr(spec, field, value)
    return new


def _copy(message: object, name: str, value: object) -> None:
    """Copies one field of any kind from the message of another type that has it too."""
    target = getattr(message, name)
    if hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    elif hasattr(target, "extend"):
        target.extend(value)
    else:
        setattr(message, name, value)


def _with_input_layer(net: NetParameter) -> NetParameter:
    """Puts an Input layer in front; inputs without extents, as in old caffemodels, just go."""
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
