"""`caffe.Detector`: a net that classifies windows of images (R-CNN, Girshick et al. 2014)."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..types import AnyArray, Array
from . import io
from .classifier import classify, make_transformer
from .mode import TEST
from .net import Net


class Detector(Net):
    """A net with its preprocessing, which classifies windows of images.

    Args:
        model_file: the prototxt.
        pretrained_file: the weights.
        mean: to subtract, as `io.Transformer.set_mean` takes it.
        input_scale: factor after the mean.
        raw_scale: factor before the mean.
        channel_swap: order of the channels.
        context_pad: how many pixels of the input around a window show what surrounds it.
    """

    def __init__(
        self,
        model_file: str,
        pretrained_file: str,
        mean: AnyArray | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        context_pad: int | None = None,
    ) -> None:
        Net.__init__(self, model_file, TEST, weights=pretrained_file)
        self.transformer = make_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def detect_windows(
        self, images_windows: Iterable[tuple[str, Sequence[AnyArray]]]
    ) -> list[dict[str, Any]]:
        """Classify windows of images.

        Args:
            images_windows: image files, each with windows (ymin, xmin, ymax, xmax).

        Returns:
            For each window a dict with `window`, `prediction` and `filename`.
        """
        pairs = [(name, list(windows)) for name, windows in images_windows]
        crops: list[AnyArray] = []
        for name, windows in pairs:
            image = io.load_image(name)
            crops += [self.crop(image, window) for window in windows]
        input_ = self.inputs[0]
        size = self.blobs[input_].data.shape[2:]
        feed = np.zeros((len(crops), crops[0].shape[2], *size), np.float32)
        for i, crop in enumerate(crops):
            feed[i] = self.transformer.preprocess(input_, crop)
        predictions = iter(classify(self, feed))
        return [
            {"window": window, "prediction": next(predictions), "filename": name}
            for name, windows in pairs
            for window in windows
        ]

    def detect_selective_search(self, image_fnames: Iterable[str]) -> list[dict[str, Any]]:
        """Classify the windows that the package selective_search_ijcv_with_python proposes."""
        search = importlib.import_module("selective_search_ijcv_with_python")
        names = [str(Path(name).resolve()) for name in image_fnames]
        windows = search.get_windows(names, cmd="selective_search_rcnn")
        return self.detect_windows(zip(names, windows, strict=False))

    def crop(self, im: AnyArray, window: AnyArray) -> AnyArray:
        """Cut a window (ymin, xmin, ymax, xmax) out of an image, with context if configured.

        Pixels beyond the image's edge are the mean.
        """
        if not self.context_pad:
            return im[int(window[0]) : int(window[2]), int(window[1]) : int(window[3])]
        size = self.blobs[self.inputs[0]].width  # a square
        box = _widened(window, size / (1.0 * size - self.context_pad * 2))
        scale = size / (box[2:] - box[:2] + 1)  # pixels of the input for one of the image
        pad = [round(max(0, -edge) * s) for edge, s in zip(box[:2], scale, strict=True)]
        box = np.clip(box, 0.0, [*im.shape[:2], *im.shape[:2]])
        extent = box[2:] - box[:2] + 1
        if not (extent > 0).all():
            raise AssertionError(f"the window {window} lies outside the image {im.shape}")
        sides = [min(round(n * s), size - p) for n, s, p in zip(extent, scale, pad, strict=True)]
        top, left, bottom, right = box.astype(int)
        inner = io.resize_image(im[top:bottom, left:right], sides)
        crop: Array = np.ones(self.crop_dims, np.float32) * self.crop_mean
        crop[pad[0] : pad[0] + sides[0], pad[1] : pad[1] + sides[1]] = inner
        return crop

    def configure_crop(self, context_pad: int | None) -> None:
        """Set how much context a window has, and the mean that stands beyond an image's edge."""
        input_ = self.inputs[0]
        order = self.transformer.transpose[input_]
        back = [order[axis] for axis in order]
        self.crop_dims = np.array(self.blobs[input_].data.shape[1:])[back]
        self.context_pad = context_pad
        if not context_pad:
            return
        mean = self.transformer.mean.get(input_)
        if mean is None:
            self.crop_mean: AnyArray = np.zeros(self.crop_dims, np.float32)
            return
        self.crop_mean = mean.copy().transpose(back)
        swap = self.transformer.channel_swap.get(input_)
        if swap is not None:
            self.crop_mean = self.crop_mean[:, :, np.argsort(swap)]
        if self.transformer.raw_scale.get(input_) is not None:
            self.crop_mean /= self.transformer.raw_scale[input_]


def _widened(window: AnyArray, scale: float) -> AnyArray:
    """Return a window (ymin, xmin, ymax, xmax) `scale` times as large about its center, rounded."""
    box = np.asarray(window, float)
    half = (box[2:] - box[:2] + 1) / 2.0
    center = box[:2] + half
    return np.round(np.concatenate([center - scale * half, center + scale * half]))
