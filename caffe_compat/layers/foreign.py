"""Layer types and fields that one fork of Caffe alone has: they tell whose a net is."""

from __future__ import annotations

from collections.abc import Collection

from ..caffe_pb2 import NetParameter

_TYPES = {
    "zhaoweicai/cascade-rcnn": "HardMining",
    "eric612/Caffe-YOLOv3": "YoloSeg AssistedExcitation LaneData SegmentationEvaluate",
    "openvinotoolkit/training_toolbox_caffe": "LabelSpecificAdd ScaleFilter "
    "AnchorEmbeddingExtractor",
    "senlinuc/caffe_ocr": "DenseBlock WarpCTCLoss",
    "sciencefans/Quality-Aware-Network": "BatchPool TripletLoss",
    "yuqj1991/caffe_train": "SampleTriplet CtcLoss CosinL2Normalize faceAttributeData ccpdData "
    "CPMData CenterObjectLoss Yolov3Loss CosinAddm YoloAnnotatedData Identity2Verify "
    "focalSoftmaxWithLoss",
    "intel/caffe": "CropSimple DiceLoss",
    "alexgkendall/caffe-segnet": "DenseImageData",
    "foss-for-synopsys-dwc-arc-processors/synopsys-caffe": "YoloV2Loss YoloV3Loss ICNetSubgraph",
    "happynear/caffe-windows": "GeneralContrastiveLoss SoftTruncation LabelSpecificRescale "
    "GeneralTripletLoss Noise",
    "soeaver/caffe": "ImageSegData",
    "MyCaffe": "Decode AccuracyDecode TransformerBlock TokenizedData LayerNorm ReshapeTemporal "
    "GateAddNorm ChannelEmbedding DataTemporal VarSelNet MultiheadAttentionInterp "
    "QuantileAccuracy MemoryLoss SoftmaxCrossEntropy2Loss",
    "wy1iu/LargeMargin_Softmax_Loss": "LargeMarginInnerProduct",
    "wy1iu/sphereface": "MarginInnerProduct",
    "yun-liu/rcf": "ImageLabelmapData",
    "thuml/HashNet": "PairwiseLoss ScaleTanH",
    "oftenliu/caffe-mtcnn": "OftenMtcnnSoftmaxLoss OftenMtcnnEuclideanLoss "
    "OftenMtcnnLandMarkLoss OftenMtcnnAccuracy OftenMtcnnClassBridge",
    "beniz/deepdetect": "LabelsequenceAccuracy",
    "lmb-freiburg/flownet2": "Accum BlackAugmentation CustomData FlowAugmentation FloatReader "
    "GenerateAugmentationParameters ImgReader LpqLoss",
    "daerduoCarey/SpatialTransformerLayer": "LocLoss PowerFile STLoss",
    "DeepLab": "DenseCRF DomainTransform MatRead UniqueLabel",
    "NVIDIA/caffe": "DetectNetTransformation",
}
_FORKS = {kind: fork for fork, kinds in _TYPES.items() for kind in kinds.split()}


# Types and fields that occur in the nets of one fork alone, by the fork's name in the registry.
# wy1iu/LargeMargin_Softmax_Loss has the BN of caffe-windows.
_MARKS = {
    "caffe-windows": "GeneralContrastiveLoss InnerDistance LargeMarginInnerProduct",
    "cascade-rcnn": "BoxGroupOutput BoxOutput DecodeBBox DetectionGroupAccuracy DetectionGroupLoss "
    "DetectionAccuracy DetectionLoss FrcnnOutput ImageGtData EvalData DetectionData",
    "fcn": "AutoCrop ImageLabelmapData MULTI_STAGE_MEANFIELD MultiStageMeanfield",
    "flownet2": "Correlation Correlation1D CustomData DataAugmentation Downsample FLOWriter "
    "FlowWarp LpqLoss Resample Warp",
    "segnet": "DenseImageData",
    "mscnn": "BoxOutput DetectionAccuracy DetectionLoss ImageGtData",
    "synopsys-caffe": "BatchToSpaceND ResizeBilinear ResizeNearestNeighbor SpaceToBatchND Squeeze "
    "convolution_param.pad_l",
}
_FIELDS = [mark.split(".") for marks in _MARKS.values() for mark in marks.split() if "." in mark]
_MARKED = {fork: frozenset(kinds.split()) for fork, kinds in _MARKS.items()}


def evidence(net: NetParameter) -> frozenset[str]:
    """Return a net's layer types, and those of its fields that one fork alone has."""
    fields = (
        f"{param}.{field}"
        for param, field in _FIELDS
        if any(getattr(layer, param).HasField(field) for layer in net.layer)
    )
    return frozenset(layer.type for layer in net.layer).union(fields)


def particular(forks: Collection[str]) -> set[str]:
    """Return the forks without those that have all the marks of another among them, and more."""
    return {a for a in forks if not any(_MARKED[b] < _MARKED[a] for b in forks)}


def marked(fork: str | None, marks: Collection[str]) -> list[str]:
    """Return those of a net's types and fields that tell that it is a fork's."""
    return sorted(_MARKED.get(fork or "", frozenset()).intersection(marks))


def origin(kind: str) -> str:
    """Return a fork that is known to have a layer type; empty where none is."""
    return _FORKS.get(kind, "")
