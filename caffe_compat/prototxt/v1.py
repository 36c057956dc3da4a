"""Nets of 2014, `layers { type: CONVOLUTION }`, to the current form (UpgradeV1Net)."""

from __future__ import annotations

from ..caffe_pb2 import LayerParameter, NetParameter, ParamSpec, V1LayerParameter
from ..errors import ParseError

_LayerType = V1LayerParameter.LayerType

_TRANSFORM = ("scale", "mean_file", "crop_size", "mirror")
_DATA_TYPES = {
    "DATA": "data_param",
    "IMAGE_DATA": "image_data_param",
    "WINDOW_DATA": "window_data_param",
}

# The V2 names that are not the V1 enum's words, capitalised and joined.
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
    "CROP": "AutoCrop",  # BVLC had no Crop in 2014; FCN's aligns its bottoms
    "ROIPOOLING": "ROIPooling",
    "ROI_POOLING": "ROIPooling",
}

# V1 fields that V2 has under the same name and type, beside the *_param messages.
_V1_COPIED = ("bottom", "top", "name", "include", "exclude", "blobs", "loss_weight")


def move_transforms(net: NetParameter) -> NetParameter:
    """Return a V1 net with data layers' scale, mean_file, ... in transform_param.

    If one layer of the net has such a field, Caffe creates both messages in every data layer of
    the net, empty or not.
    """
    new = NetParameter()
    new.CopyFrom(net)
    layers = [
        (layer, getattr(layer, _DATA_TYPES[name]))
        for layer in new.layers
        if (name := _LayerType.Name(layer.type)) in _DATA_TYPES
    ]
    if not any(param.HasField(field) for _, param in layers for field in _TRANSFORM):
        return new
    for layer, param in layers:
        param.SetInParent()
        layer.transform_param.SetInParent()
        for field in _TRANSFORM:
            if param.HasField(field):
                setattr(layer.transform_param, field, getattr(param, field))
                param.ClearField(field)
    return new


def upgrade_v1(net: NetParameter) -> NetParameter:
    """Return a V1 net as V2.

    Raises:
        ParseError: it has V2 layers, too.
    """
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
    """Copy one field of any kind from a message of another type that has it, too."""
    target = getattr(message, name)
    if hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    elif hasattr(target, "extend"):
        target.extend(value)
    else:
        setattr(message, name, value)
