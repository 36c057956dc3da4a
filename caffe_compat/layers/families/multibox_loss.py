"""MultiBoxLoss: SSD's training loss."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...caffe_pb2 import LayerParameter, MultiBoxLossParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from .. import boxes as bx
from .. import labels
from ..layer import Layer
from ..matching import Index, encode, match, mine, read_truth
from ..registry import layer
from .softmax import softmax

_TINY = np.float32(np.finfo(np.float32).tiny)


class _Batch(NamedTuple):
    """The default boxes that count in the loss, of all images.

    Attributes:
        matched: (image, prior) of each match.
        difference: its prediction less what is encoded in the ground truth, (M, 4).
        scored: (image, prior) of each whose scores count.
        label: the class of each.
    """

    matched: tuple[Index, Index]
    difference: Array
    scored: tuple[Index, Index]
    label: Index


def _losses(scores: Array, label: Index, logistic: bool) -> tuple[Array, Array]:
    """Return the loss of each row of scores, and its gradient."""
    hit = np.arange(scores.shape[1]) == label[:, None]
    if logistic:
        each = np.maximum(scores, 0) - scores * hit + np.log1p(np.exp(-np.abs(scores)))
        return each.sum(axis=1), 1 / (1 + np.exp(-scores)) - hit.astype(np.float32)
    shares = softmax(scores, 1)
    own = np.take_along_axis(shares, label[:, None], axis=1)[:, 0]
    return -np.log(np.maximum(own, _TINY)), shares - hit.astype(np.float32)


def _location_losses(d: Array, p: MultiBoxLossParameter) -> Array:
    size = np.abs(d)
    squared = p.loc_loss_type == MultiBoxLossParameter.L2
    half = np.float32(0.5)
    losses: Array = np.where(squared | (size < 1), half * d * d, size - half).sum(axis=1)
    return losses


@layer("MultiBoxSSDLoss", param="multibox_loss_param", bottoms=4, loss=True)
class MultiBoxLoss(Layer):
    """SSD's training loss (Liu et al. 2016, eq. 1).

    From: weiliu89/caffe, branch ssd, multibox_loss_layer.cpp and util/bbox_util.cpp;
        yuqj1991/caffe_train has it as MultiBoxSSDLoss

    Bottoms: locations (N, 4 P), scores (N, P classes), priors (1, 2, 4 P), ground truth (1, 1, G,
    8). An image without ground truth has no loss unless mining_type is NONE. The gradient with
    encode_variance_in_target lacks the variances, as in Caffe.

    Refused: share_location: false; map_object_to_agnostic; nms_param; LOGISTIC with mining_type
    NONE, whose labels Caffe writes in other places.
    """

    blocked = (2, 3)
    evaluates = True

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        _check(self.p)

    @property
    def approximate(self) -> bool:
        return bool(self.p.encode_variance_in_target)

    def shapes(self, loc: Shape, conf: Shape, prior: Shape, truth: Shape) -> list[Shape | None]:
        if len(prior) != 3 or prior[1] != 2 or prior[2] % 4 or (*truth, 8)[3] != 8:
            raise ShapeError(f"needs priors (1, 2, 4 P) and rows of 8: {prior} and {truth}")
        wanted = (prior[2], prior[2] // 4 * self.p.num_classes)
        if loc[:1] != conf[:1] or (*loc, 1, 1)[1:2] + (*conf, 1, 1)[1:2] != wanted:
            raise ShapeError(f"{prior[2] // 4} priors do not fit {loc} and {conf}")
        return [()]

    def _divisor(self, batch: _Batch, images: int, priors: int) -> np.float32:
        own = self.proto.loss_param
        how = labels.mode(own, own.normalization)
        sizes = [images * priors, len(batch.difference), images, 1]  # FULL, VALID, BATCH_SIZE, NONE
        return np.float32(max(1, sizes[how]))

    def _flows(self) -> tuple[bool, ...]:
        """Return whether the locations and the scores count: those that gradients flow to."""
        return tuple(self.proto.propagate_down[:2]) or (True, True)

    def forward(self, loc: Array, conf: Array, prior: Array, truth: Array) -> Array:
        batch = _select(self.p, loc, conf, prior, truth)
        scores = conf.reshape(len(loc), -1, self.p.num_classes)
        each, _ = _losses(scores[batch.scored], batch.label, self.p.conf_loss_type == 1)
        place = np.float32(self.p.loc_weight) * _location_losses(batch.difference, self.p).sum()
        parts = [part for part, on in zip((place, each.sum()), self._flows(), strict=True) if on]
        divisor = self._divisor(batch, *scores.shape[:2])
        return np.asarray(sum(part / divisor for part in parts), np.float32)

    def backward(
        self, dy: Array, loc: Array, conf: Array, prior: Array, truth: Array
    ) -> tuple[Array, Array, None, None]:
        batch = _select(self.p, loc, conf, prior, truth)
        dloc = np.zeros_like(loc).reshape(len(loc), -1, 4)
        dconf = np.zeros_like(conf).reshape(len(loc), -1, self.p.num_classes)
        weight = np.float32(dy / self._divisor(batch, *dconf.shape[:2]))
        d = batch.difference
        if self.p.loc_loss_type == MultiBoxLossParameter.SMOOTH_L1:
            d = np.clip(d, -1, 1)
        dloc[batch.matched] = d * np.float32(self.p.loc_weight) * weight
        scores = conf.reshape(dconf.shape)[batch.scored]
        dconf[batch.scored] = weight * _losses(scores, batch.label, self.p.conf_loss_type == 1)[1]
        return dloc.reshape(loc.shape), dconf.reshape(conf.shape), None, None


def _check(p: MultiBoxLossParameter) -> None:
    """Raise for parameters that Caffe or this project refuses."""
    mines = p.mining_type != MultiBoxLossParameter.NONE
    if p.num_classes < 1 or p.background_label_id >= p.num_classes:
        raise ShapeError(
            f"num_classes {p.num_classes} must be above background_label_id {p.background_label_id}"
        )
    if p.HasField("do_neg_mining") and p.do_neg_mining != mines:
        raise ShapeError("do_neg_mining contradicts mining_type")
    if not p.share_location or p.map_object_to_agnostic:
        raise UnsupportedError("needs share_location, and no map_object_to_agnostic")
    if p.nms_param.nms_threshold > 0 and p.HasField("nms_param"):
        raise UnsupportedError("nms_param, non-max suppression before mining, is not supported")
    if p.conf_loss_type == MultiBoxLossParameter.LOGISTIC and not mines:
        raise UnsupportedError("LOGISTIC needs a mining_type: Caffe misplaces the labels without")


def _select(p: MultiBoxLossParameter, loc: Array, conf: Array, prior: Array, rows: Array) -> _Batch:
    """Return what counts in the loss of a batch."""
    truth = read_truth(rows, p.background_label_id)
    if not p.use_difficult_gt:
        truth = truth.of(~truth.difficult)
    priors, variances = prior[0].reshape(2, -1, 4)
    bx.check_priors(priors, p.code_type)
    predictions, scores = loc.reshape(len(loc), -1, 4), conf.reshape(len(conf), len(priors), -1)
    scale = None if p.encode_variance_in_target else variances
    parts: list[tuple[Index, Array, Index, Index]] = []
    mines = p.mining_type != MultiBoxLossParameter.NONE
    for image, predicted in enumerate(predictions):
        own = truth.of(truth.image == image)
        label = np.full(len(priors), p.background_label_id)
        if not len(own.box):
            scored = np.arange(0 if mines else len(priors))
            parts.append((scored[:0], predicted[:0], scored, label[scored]))
            continue
        sources = priors
        if not p.use_prior_for_matching:
            sources = bx.decode(predicted, priors, scale, p.code_type)
        index, best = match(sources, own.box, p)
        hits = np.flatnonzero(index > -1)
        label[hits] = own.label[index[hits]]
        if np.any((label < 0) | (label >= p.num_classes)):
            raise ShapeError(f"a label of the ground truth is outside the {p.num_classes} classes")
        d = np.zeros_like(predicted)
        factors = None if scale is None else scale[hits]
        target = encode(own.box[index[hits]], priors[hits], factors, p.code_type)
        d[hits] = predicted[hits] - target
        if p.bp_inside:
            d[(sources < 0) | (sources > 1)] = 0
        d = d / variances if p.encode_variance_in_target else d
        scored = np.arange(len(priors))
        if mines:
            loss, _ = _losses(scores[image], label, p.conf_loss_type == 1)
            if p.mining_type == MultiBoxLossParameter.HARD_EXAMPLE:
                loss = loss + _location_losses(d, p)
            hits, negatives = mine(index, best, loss, p)
            scored = np.concatenate([hits, negatives])
        parts.append((hits, d[hits], scored, label[scored]))
    matched, differences, scored_, label_ = zip(*parts, strict=True)
    return _Batch(
        _places(matched), np.concatenate(differences), _places(scored_), np.hstack(label_)
    )


def _places(parts: tuple[Index, ...]) -> tuple[Index, Index]:
    images = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return images, np.concatenate(parts)
