"""`caffe.Classifier`: a net that classifies images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..types import AnyArray, Array
from . import io
from .mode import TEST
from .net import Net


class Classifier(Net):
    """A net with its preprocessing, which classifies images.

    Args:
        model_file: the prototxt.
        pretrained_file: the weights.
        image_dims: height and width that images are resized to before they are cropped to the
            input's size; by default the input's size.
        mean: to subtract, as `io.Transformer.set_mean` takes it.
        input_scale: factor after the mean.
        raw_scale: factor before the mean.
        channel_swap: order of the channels.
    """

    def __init__(
        self,
        model_file: str,
        pretrained_file: str,
        image_dims: Sequence[int] | None = None,
        mean: AnyArray | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
    ) -> None:
        Net.__init__(self, model_file, TEST, weights=pretrained_file)
        self.transformer = make_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[self.inputs[0]].data.shape[2:])
        self.image_dims = (
            self.crop_dims if image_dims is None or not len(image_dims) else image_dims
        )

    def predict(self, inputs: Sequence[AnyArray], oversample: bool = True) -> Array:
        """Classify images.

        Args:
            inputs: (H, W, K) arrays.
            oversample: average over the center, the corners and their mirror images; else the
                center alone.

        Returns:
            (len(inputs), classes).
        """
        height, width = self.image_dims[0], self.image_dims[1]
        images: Array = np.zeros((len(inputs), height, width, inputs[0].shape[2]), np.float32)
        for i, image in enumerate(inputs):
            images[i] = io.resize_image(image, self.image_dims)
        if oversample:
            images = io.oversample(images, self.crop_dims)
        else:
            middle = np.array(self.image_dims) / 2.0
            top, left = (middle - self.crop_dims / 2.0).astype(int)
            bottom, right = (middle + self.crop_dims / 2.0).astype(int)
            images = images[:, top:bottom, left:right, :]
        feed = np.zeros(np.array(images.shape)[[0, 3, 1, 2]], np.float32)
        for i, image in enumerate(images):
            feed[i] = self.transformer.preprocess(self.inputs[0], image)
        predictions: Array = classify(self, feed)
        if oversample:
            predictions = predictions.reshape((len(predictions) // 10, 10, -1)).mean(1)
        return predictions


def classify(net: Any, feed: Array) -> Array:
    """Return a net's first output for its first input."""
    outputs: Array = net.forward_all(**{net.inputs[0]: feed})[net.outputs[0]]
    return outputs


def make_transformer(
    net: Any,
    mean: AnyArray | None,
    input_scale: float | None,
    raw_scale: float | None,
    channel_swap: Sequence[int] | None,
) -> io.Transformer:
    """Return the preprocessing of a net's first input, (H, W, K) to (K, H, W)."""
    name = net.inputs[0]
    transformer = io.Transformer({name: net.blobs[name].data.shape})
    transformer.set_transpose(name, (2, 0, 1))
    if mean is not None:
        transformer.set_mean(name, mean)
    if input_scale is not None:
        transformer.set_input_scale(name, input_scale)
    if raw_scale is not None:
        transformer.set_raw_scale(name, raw_scale)
    if channel_swap is not None:
        transformer.set_channel_swap(name, channel_swap)
    return transformer
