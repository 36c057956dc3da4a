"""Turn a training net into its deploy form: predictions for losses, inputs for data layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..caffe_pb2 import LayerParameter, NetParameter
from ..errors import ShapeError
from ..prototxt.cut import drop_tops, removed
from ..prototxt.flow import Flow, read_blobs, with_layers
from ..types import Shape
from .creation import Creator
from .feeding import input_layer, source_shapes
from .roles import PREDICTIONS, is_evaluation, is_loss, is_mask, prediction, samples_proposals

_BEFORE_LABELS = {"DecodeBBox": 2, "CTCGreedyDecoder": 1}  # bottoms, by type


def deploy(net: NetParameter, whole: NetParameter, creator: Creator) -> NetParameter:
    """Return a training net in its deploy form.

    SoftmaxWithLoss becomes Softmax, whose top is `prob` where no other blob is, and
    SigmoidCrossEntropyLoss becomes Sigmoid; the other losses, accuracies and evaluations fall
    away, auxiliary heads (the same loss on the same labels with a smaller weight) with them, and
    whatever only they read. Data layers become Input layers of one image.

    Args:
        net: an upgraded net whose layers are selected; not changed.
        whole: the net with the layers of every phase, which may have the inputs' shapes.
        creator: creates the layers.

    Raises:
        ShapeError: nothing would be left.
    """
    net = _without_targets(net, whole)
    plan = _Plan(net, Flow.of(net), creator)
    kept = plan.flow.above(plan.ends())
    layers = [layer for index, layer in enumerate(net.layer) if index in kept]
    if not layers:
        raise ShapeError("deploy=True leaves nothing: no layer with weights is above a loss or end")
    layers += plan.predictions()
    return with_layers(net, _with_inputs(layers, whole, creator))


def fallen(before: NetParameter, after: NetParameter) -> list[LayerParameter]:
    """Return the layers that a net has lost.

    A loss whose prediction it has is none of them, nor a data layer that is now an Input.
    """
    predicted = {each.bottom[0] for each in after.layer if each.type in PREDICTIONS.values()}
    fed = {top for layer in after.layer if layer.type == "Input" for top in layer.top}
    return [
        layer
        for layer in removed(before, after)
        if not (prediction(layer) and layer.bottom and layer.bottom[0] in predicted)
        and (layer.bottom or fed.isdisjoint(layer.top))
    ]


def _without_targets(net: NetParameter, whole: NetParameter) -> NetParameter:
    """Return the net with proposals in place of those that a layer samples for training.

    Faster R-CNN's ProposalTarget, of whatever phase, samples rois and labels them; its first bottom
    is the proposals. Layers that compare with labels in their last bottom do without.
    """
    samplers = [each for each in whole.layer if samples_proposals(each)]
    targets = {each.top[0]: each.bottom[0] for each in samplers}
    kept = [each for each in net.layer if not samples_proposals(each)]
    made = {top for layer in kept for top in layer.top}
    proposals = {top: bottom for top, bottom in targets.items() if top not in made}
    sampled = {top for each in samplers for top in each.top[1:]} - made
    layers: list[LayerParameter] = []
    for layer in kept:
        new = LayerParameter()
        new.CopyFrom(layer)
        bottoms = layer.bottom[: _BEFORE_LABELS.get(layer.type)]
        if layer.type == "ScaleRoute":  # a top for each bottom
            pairs = zip(layer.bottom, layer.top, strict=False)
            known = [pair for pair in pairs if pair[0] not in sampled]
            bottoms, new.top[:] = [pair[0] for pair in known], [pair[1] for pair in known]
        new.bottom[:] = [proposals.get(blob, blob) for blob in bottoms]
        del new.propagate_down[len(bottoms) :]
        layers.append(_without_margin(new))
    return with_layers(net, layers)


def _without_margin(layer: LayerParameter) -> LayerParameter:
    """Return InnerProduct for a LargeMarginInnerProduct whose margin is none, as in TEST."""
    margin = layer.largemargin_inner_product_param
    if layer.type == "LargeMarginInnerProduct" and margin.type == margin.SINGLE:
        layer.type = "InnerProduct"
        del layer.bottom[1:], layer.top[1:], layer.propagate_down[1:], layer.loss_weight[1:]
        layer.inner_product_param.num_output = margin.num_output
        layer.inner_product_param.axis = margin.axis
        layer.inner_product_param.bias_term = False
        layer.inner_product_param.weight_filler.CopyFrom(margin.weight_filler)
        layer.ClearField("largemargin_inner_product_param")
    return layer


@dataclass(frozen=True)
class _Plan:
    """Which layers of a training net its deploy form has."""

    net: NetParameter
    flow: Flow
    creator: Creator

    def ends(self) -> set[int]:
        """Return the layers that compute what the deploy form is for."""
        losses, gone = self._losses(), self._gone()
        scored = {source for index in losses for source in self.flow.sources[index]}
        ends: set[int | None] = set()
        for index in self._main(losses):
            ends.update(self._before_masks(self._predicting(index)))
        for index in gone - losses:
            ends.update(source for source in self.flow.sources[index] if source not in scored)
        used = {source for sources in self.flow.sources for source in sources}
        ends |= {i for i, each in enumerate(self.net.layer) if i not in used and each.top}
        learning = {i for i, each in enumerate(self.net.layer) if self.creator.learns(each)}
        learned = self.flow.below(learning)
        return {end for end in ends if end is not None and end in learned and end not in gone}

    def _before_masks(self, sources: Iterable[int | None]) -> Iterator[int | None]:
        """Yield layers, or what masks of labels are multiplied to in their places."""
        masked = self.flow.below(self._masks())
        left = dict.fromkeys(sources)
        for source in (order := list(left)):
            if source in masked:
                order += [each for each in self.flow.sources[source] if each not in left]
                left |= dict.fromkeys(order)
            else:
                yield source

    def _masks(self) -> set[int]:
        """Return the layers that multiply predictions by labels, as DetectNet's `bbox_mask`.

        Labels are what no layer with weights computes or reads, of whatever layers between.
        """
        layers, sources = self.net.layer, self.flow.sources
        learning = {i for i, each in enumerate(layers) if self.creator.learns(each)}
        learned, needed = self.flow.below(learning), self.flow.above(learning)
        taught = {pair for i in needed for pair in zip(layers[i].bottom, sources[i], strict=True)}

        def is_label(blob: str, source: int | None) -> bool:
            return (blob, source) not in taught and source not in learned

        return {
            i
            for i in learned - needed
            if is_mask(layers[i]) and any(map(is_label, layers[i].bottom, sources[i]))
        }

    def predictions(self) -> Iterator[LayerParameter]:
        """Yield the layers in the losses' places."""
        losses, gone = self._losses(), self._gone()
        heads = [i for i in sorted(self._main(losses)) if prediction(self.net.layer[i])]
        blobs = {top for layer in self.net.layer for top in layer.top}
        seen = set()
        softmaxes = sum(prediction(self.net.layer[i]) == "Softmax" for i in heads)
        for index in heads:
            loss = self.net.layer[index]
            kind, blob = prediction(loss), loss.bottom[0]
            source = self.flow.sources[index][0]
            if source is None or source in gone or (kind, blob) in seen:
                continue
            if self._has(kind, blob, source):
                continue
            seen.add((kind, blob))
            alone = kind == "Softmax" and softmaxes == 1 and "prob" not in blobs
            top = "prob" if alone else f"{blob}_prob"
            new = LayerParameter(name=top, type=kind, bottom=[blob], top=[top], phase=loss.phase)
            if loss.HasField("softmax_param") and kind == "Softmax":
                new.softmax_param.CopyFrom(loss.softmax_param)
            yield new

    def _has(self, kind: str, blob: str, source: int) -> bool:
        """Return whether the net itself computes the prediction of a blob."""
        return any(
            layer.type == kind and blob in layer.bottom and source in self.flow.sources[index]
            for index, layer in enumerate(self.net.layer)
        )

    def _losses(self) -> set[int]:
        return {i for i, each in enumerate(self.net.layer) if is_loss(each) and each.bottom}

    def _gone(self) -> set[int]:
        """Return losses, evaluations, and what depends on them."""
        ends = {i for i, each in enumerate(self.net.layer) if is_evaluation(each) and each.bottom}
        return self.flow.below(ends | self._losses())

    def _main(self, losses: set[int]) -> set[int]:
        """Return the losses that are not auxiliary."""
        heads: dict[tuple[str, str], list[tuple[float, int]]] = {}
        for index in losses:
            layer = self.net.layer[index]
            weight = layer.loss_weight[0] if layer.loss_weight else 1.0
            heads.setdefault((layer.type, layer.bottom[-1]), []).append((weight, index))
        return {
            index
            for group in heads.values()
            for weight, index in group
            if weight == max(each for each, _ in group)
        }

    def _predicting(self, index: int) -> Sequence[int | None]:
        """Return the sources of the bottoms that a loss compares with labels."""
        sources = self.flow.sources[index]
        return sources[:1] if prediction(self.net.layer[index]) else sources


def _with_inputs(
    layers: Sequence[LayerParameter], whole: NetParameter, creator: Creator
) -> Iterator[LayerParameter]:
    """Yield the layers with an Input for each blob that is read and that no layer computes."""
    read, known = read_blobs(layers), set[str]()
    shapes = source_shapes(whole, creator)
    for layer in layers:
        for blob in layer.bottom:
            if blob not in known:
                known.add(blob)
                yield _sized_input(blob, shapes.get(blob), _source_of(blob, whole))
        known.update(layer.top)
        if layer.bottom or layer.type in ("DummyData", "Parameter"):
            yield layer
        elif layer.type == "Input":
            trimmed = drop_tops(layer, set(layer.top) - read)
            if trimmed is not None:
                yield trimmed
        else:
            for top in layer.top:
                if top in read:
                    yield _sized_input(top, shapes.get(top), layer)


def _sized_input(blob: str, shape: Shape | None, old: LayerParameter | None) -> LayerParameter:
    layer = input_layer(blob, [blob], old)
    if shape is not None:
        layer.input_param.shape.add(dim=(1, *shape[1:]))
    return layer


def _source_of(blob: str, whole: NetParameter) -> LayerParameter | None:
    """Return the data layer of some phase that has a blob as its top."""
    return next((each for each in whole.layer if blob in each.top and not each.bottom), None)
