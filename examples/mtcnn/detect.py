"""Detect faces with MTCNN (Zhang et al. 2016): three Caffe nets with PReLU, in onnxruntime.

    python examples/mtcnn/detect.py [IMAGE] [-o OUT.png]

The script converts the nets from their prototxt and caffemodel at its start. They were trained on
transposed images, so every blob is (N, C, W, H): x comes before y.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import caffe_compat

HERE = Path(__file__).parent
SMALLEST, FACTOR = 20, 0.709  # the min face, in pixels; the ratio of successive scales
CELL, STRIDE = 12, 2  # P-Net's window and stride, in pixels
THRESHOLDS = (0.6, 0.7, 0.7)  # on the face probability, net by net


def open_net(folder, shape):
    """Open a session on one of the nets; `None` in the shape is an axis of any size."""
    net = caffe_compat.load(
        HERE / "models" / folder / "net.prototxt",
        HERE / "models" / folder / "weights.caffemodel",
        inputs={"data": shape},
    )
    return caffe_compat.Session(net)


def crop(image, box, size):
    """Crop a box out of an (H, W, 3) image, bilinear to (width, height); black outside."""
    x = (np.arange(size[0]) + 0.5) * (box[2] - box[0]) / size[0] + box[0] - 0.5
    y = (np.arange(size[1]) + 0.5) * (box[3] - box[1]) / size[1] + box[1] - 0.5
    bordered = np.pad(image.astype(np.float32), ((1, 1), (1, 1), (0, 0)))
    x, y = (np.clip(p, -1, n - 1e-3) + 1 for p, n in ((x, image.shape[1]), (y, image.shape[0])))
    left, top = x.astype(int), y.astype(int)
    fx, fy = (x - left)[:, None], (y - top)[:, None, None]
    rows = bordered[top] * (1 - fy) + bordered[top + 1] * fy
    return rows[:, left] * (1 - fx) + rows[:, left + 1] * fx


def blob(images):
    """Return (H, W, 3) images as the nets' input: (N, C, W, H), about -1 to 1."""
    return (np.stack(images).transpose(0, 3, 2, 1) - 127.5) / 128


def suppress(boxes, scores, limit, of_smaller=False):
    """Return the indices of the boxes that overlap no better box by more than `limit`."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order, keep = list(np.argsort(-scores, kind="stable")), []
    while order:
        best, order = order[0], np.array(order[1:], int)
        keep.append(best)
        corner = np.minimum(boxes[best, 2:], boxes[order, 2:])
        size = np.maximum(corner - np.maximum(boxes[best, :2], boxes[order, :2]), 0)
        both = size[:, 0] * size[:, 1]
        whole = area[best] + area[order] - both
        whole = np.minimum(area[best], area[order]) if of_smaller else whole
        order = list(order[both <= limit * whole])
    return keep


def refine(boxes, offsets):
    """Move boxes by the nets' offsets, which are fractions of the box's size."""
    size = boxes[:, 2:] - boxes[:, :2]
    return boxes + offsets * np.hstack([size, size])


def square(boxes):
    """Return the smallest squares around the boxes, with the same centres."""
    centre, side = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(1)
    return np.hstack([centre - side[:, None] / 2, centre + side[:, None] / 2])


def propose(image, net):
    """Run P-Net over an image pyramid; return candidate boxes."""
    height, width = image.shape[:2]
    boxes, scores, scale = [np.empty((0, 4))], [np.empty(0)], CELL / SMALLEST
    while min(height, width) * scale >= CELL:
        size = (int(np.ceil(width * scale)), int(np.ceil(height * scale)))
        out = net.run({"data": blob([crop(image, (0, 0, width, height), size)])})
        face, offsets = out["prob1"][0, 1], out["conv4-2"][0]
        x, y = np.nonzero(face > THRESHOLDS[0])
        corner = STRIDE * np.stack([x, y], 1)
        cells = np.hstack([corner, corner + CELL]) / scale
        keep = suppress(cells, face[x, y], 0.5)
        boxes.append(refine(cells, offsets[:, x, y].T)[keep])
        scores.append(face[x, y][keep])
        scale *= FACTOR
    candidates, score = np.concatenate(boxes), np.concatenate(scores)
    return square(candidates[suppress(candidates, score, 0.7)])


def detect(image, pnet, rnet, onet):
    """Detect faces in an (H, W, 3) uint8 image: boxes (N, 4), scores (N,), landmarks (N, 5, 2)."""
    boxes, scores, points = propose(image, pnet), np.empty(0), np.empty((0, 5, 2))
    for net, side, threshold in ((rnet, 24, THRESHOLDS[1]), (onet, 48, THRESHOLDS[2])):
        if not len(boxes):
            return np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2))
        out = net.run({"data": blob([crop(image, box, (side, side)) for box in boxes])})
        scores = out["prob1"][:, 1]
        good = scores > threshold
        boxes, scores = boxes[good], scores[good]
        if net is onet:
            marks = out["conv6-3"][good].reshape(-1, 2, 5).transpose(0, 2, 1)
            points = marks * (boxes[:, None, 2:] - boxes[:, None, :2]) + boxes[:, None, :2]
            boxes = refine(boxes, out["conv6-2"][good])
        else:
            boxes = refine(boxes, out["conv5-2"][good])
        keep = suppress(boxes, scores, 0.7, of_smaller=net is onet)
        boxes, scores = boxes[keep], scores[keep]
        points = points[keep] if net is onet else points
        boxes = boxes if net is onet else square(boxes)
    return boxes, scores, points


def main():
    """Detect faces, print and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", nargs="?", default=HERE / "astronaut.png", type=Path)
    parser.add_argument("-o", "--output", default="faces.png", type=Path)
    arguments = parser.parse_args()
    image = Image.open(arguments.image).convert("RGB")
    nets = (
        open_net("det1", (1, 3, None, None)),
        open_net("det2", (None, 3, 24, 24)),
        open_net("det3", (None, 3, 48, 48)),
    )
    draw = ImageDraw.Draw(image)
    for box, score, marks in zip(*detect(np.asarray(image), *nets), strict=True):
        print(f"face {score:.3f} at {', '.join(f'{v:.1f}' for v in box)}")
        draw.rectangle(tuple(box), outline="lime", width=2)
        for x, y in marks:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill="yellow")
    image.save(arguments.output)
    print(f"drawn into {arguments.output}")


if __name__ == "__main__":
    main()
