"""Nets of 2013, `layers { layer { type: "conv" } }`, to those of 2014 (UpgradeV0Net)."""

from __future__ import annotations

from google.protobuf.message import Message

from ..caffe_pb2 import NetParameter, V0LayerParameter, V1LayerParameter
from ..errors import ParseError, UnsupportedError

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

# A V0 field, its name in V1, and the sub-message that has it, by V0 type. For any other type Caffe
# logs the field and ignores it.
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

# V0 fields that became transform_param's, for every type.
_V0_TRANSFORM = {
    "scale": "scale",
    "meanfile": "mean_file",
    "cropsize": "crop_size",
    "mirror": "mirror",
}


def upgrade_v0(net: NetParameter) -> NetParameter:
    """Return a V0 net as V1; of the net's own fields Caffe keeps four only.

    Raises:
        ParseError: a padding layer feeds no convolution or pooling layer, or a layer is V1.
        UnsupportedError: layer types that Caffe never had, all at once.
    """
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
    """Drop V0's padding layers: the convolution or pooling layer behind pads instead."""
    producers: dict[str, V1LayerParameter | None] = dict.fromkeys(net.input)
    layers = []
    for old in net.layers:
        layer = V1LayerParameter()
        layer.CopyFrom(old)
        if old.layer.type != "padding":
            layers.append(layer)
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
    return layers


def _v1_layer(layer: V1LayerParameter) -> V1LayerParameter:
    """Return one V0 layer as V1; the fields beside its inner `layer` are lost, as in Caffe."""
    old = layer.layer
    if not layer.HasField("layer"):  # Caffe makes a layer without name and type of it
        raise ParseError(f"layer '{layer.name}' is of 2014 (V1), among layers of 2013 (V0)")
    new = V1LayerParameter(bottom=layer.bottom, top=layer.top, type=_V0_TYPES.get(old.type))
    if old.HasField("name"):
        new.name = old.name
    for field in ("blobs", "blobs_lr", "weight_decay"):
        getattr(new, field).extend(getattr(old, field))
    for field, name, homes in _V0_FIELDS:
        if old.type in homes and old.HasField(field):
            _assign(old, field, getattr(new, homes[old.type]), name)
    for field, name in _V0_TRANSFORM.items():
        if old.HasField(field):
            _assign(old, field, new.transform_param, name)
    if old.type == "hdf5_output" and old.HasField("hdf5_output_param"):
        new.hdf5_output_param.CopyFrom(old.hdf5_output_param)
    return new


def _assign(old: V0LayerParameter, field: str, new: Message, name: str) -> None:
    """Set a field from one of V0: one value, a message, or a list that gets its only value.

    Raises:
        ParseError: the value is a number that the new field has no place for.
    """
    value = getattr(old, field)
    if hasattr(value, "ListFields"):
        getattr(new, name).CopyFrom(value)
        return
    try:
        if hasattr(getattr(new, name), "append"):
            getattr(new, name).append(value)
        else:
            setattr(new, name, value)
    except ValueError:
        raise ParseError(
            f"layer '{old.name}' ({old.type}): {field} is {value}, and {name} of "
            f"{new.DESCRIPTOR.name} is a whole number of 0 to 4294967295"
        ) from None
