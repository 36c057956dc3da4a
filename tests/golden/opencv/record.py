"""Records what OpenCV 4.14's dnn module answers, for tests/test_dnn.py.

    pip install "opencv-python-headless<5" && python tests/golden/opencv/record.py

Writes blobs.npz (blobFromImage and NMSBoxes), nets.npz (the models) and nets.json (their layers)
beside this file.
"""

import json
import re
import tempfile
from pathlib import Path

import cv2
import numpy as np

HERE = Path(__file__).parent
GOLDEN, MTCNN = HERE.parent / "models", HERE.parents[2] / "examples/mtcnn/models"
# Each model's folder, and the shapes that it is fed one after the other.
NETS = {
    "lenet": (GOLDEN / "lenet", [(1, 1, 28, 28), (3, 1, 28, 28)]),
    "finemapping": (GOLDEN / "hyperlpr_finemapping", [(1, 3, 16, 66), (2, 3, 16, 66)]),
    "det1": (MTCNN / "det1", [(1, 3, 12, 12), (1, 3, 17, 21), (2, 3, 19, 14)]),
    "det2": (MTCNN / "det2", [(2, 3, 24, 24)]),
    "det3": (MTCNN / "det3", [(2, 3, 48, 48)]),
    "hyperlpr_ssd": (GOLDEN / "hyperlpr_ssd", [(1, 3, 128, 96), (2, 3, 96, 128)]),
    "ultraface": (GOLDEN / "ultraface_rfb320", [(1, 3, 60, 80)]),
}
# Pictures (height, width, channels), and blobFromImage's keywords.
BLOBS = [
    ((23, 17, 3), {}),
    ((23, 17, 3), {"scalefactor": 0.0078125, "mean": (127.5, 127.5, 127.5)}),
    ((23, 17, 3), {"size": (30, 29), "mean": (104.0, 117.0, 123.0)}),
    ((23, 17, 3), {"size": (30, 29), "mean": (104.0, 117.0, 123.0), "swapRB": True}),
    ((23, 41, 3), {"size": (13, 11), "swapRB": True, "crop": True, "scalefactor": 1 / 255}),
    ((41, 23, 3), {"size": (50, 37), "crop": True}),
    ((43, 46, 3), {"size": (23, 21), "crop": True}),
    ((24, 36, 3), {"size": (18, 12)}),
    ((23, 17), {"size": (11, 19), "mean": 33.0}),
    ((23, 17, 4), {"size": (21, 19), "swapRB": True, "mean": (1.0, 2.0, 3.0, 4.0)}),
    ((9, 1, 3), {"size": (5, 14)}),
    ((23, 17, 3), {"size": (31, 12), "swapRB": True, "ddepth": cv2.CV_8U}),
]
NMS = [(0.2, 0.4, 1.0, 0), (0.2, 0.7, 0.9, 0), (0.5, 0.3, 1.0, 4), (2.0, 0.3, 1.0, 0)]


def blobs() -> dict:
    rng = np.random.default_rng(4)
    made = {"cases": np.array(json.dumps([keywords for _, keywords in BLOBS]))}
    for i, (shape, keywords) in enumerate(BLOBS):
        image = made[f"image{i}"] = rng.integers(0, 256, shape, np.uint8)
        made[f"blob{i}"] = cv2.dnn.blobFromImage(image, **keywords)
        if "ddepth" not in keywords:
            made[f"float{i}"] = cv2.dnn.blobFromImage(image.astype(np.float32), **keywords)
    boxes = made["boxes"] = np.round(rng.random((40, 4)) * 50, 1)
    scores = made["scores"] = rng.random(40).astype(np.float32)
    made["nms"] = np.array(NMS)
    for i, (score, overlap, eta, top) in enumerate(NMS):
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), score, overlap, eta, top)
        made[f"kept{i}"] = np.array(kept, np.int32)
    return made


def read(folder: Path) -> cv2.dnn.Net:
    """The net, its priors' sizes cut to whole numbers: Caffe's PriorBox does so, OpenCV's not."""
    text = re.sub(r"((?:min|max)_size: *\d+)\.\d+", r"\1", (folder / "net.prototxt").read_text())
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        file.write(text)
        file.flush()
        return cv2.dnn.readNetFromCaffe(file.name, str(folder / "weights.caffemodel"))


def nets() -> tuple[dict, dict]:
    rng = np.random.default_rng(5)
    arrays, facts = {}, {}
    for name, (folder, shapes) in NETS.items():
        net = read(folder)
        outs = net.getUnconnectedOutLayersNames()
        middle = net.getLayerNames()[2]
        facts[name] = {
            "layers": net.getLayerNames(),
            "outs": outs,
            "middle": middle,
            "numbers": net.getUnconnectedOutLayers().tolist(),
            "runs": len(shapes),
        }
        for i, shape in enumerate(shapes):
            net = read(folder)  # one that ran at another size keeps PriorBox's steps from there
            x = arrays[f"{name}/{i}/in"] = rng.integers(0, 256, shape, np.uint8)
            net.setInput(x, "", 1 / 128, (127.5,) * shape[1])
            arrays[f"{name}/{i}/last"] = net.forward()
            for out, array in zip(outs, net.forward(outs), strict=True):
                arrays[f"{name}/{i}/{out}"] = array
        # Asked for after a run that fused it away, OpenCV answers with another net's numbers here
        # and there (depthwise convolutions); a net of its own is right.
        net = read(folder)
        net.setInput(x, "", 1 / 128, (127.5,) * shape[1])
        array = net.forward(middle)
        arrays[f"{name}/middle"] = array[:, :, ::3, ::3] if array.ndim == 4 else array
    return arrays, facts


if __name__ == "__main__":
    np.savez_compressed(HERE / "blobs.npz", **blobs())
    arrays, facts = nets()
    np.savez_compressed(HERE / "nets.npz", **arrays)
    (HERE / "nets.json").write_text(json.dumps({"opencv": cv2.__version__, **facts}, indent=1))
