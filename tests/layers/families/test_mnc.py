"""MNC's layers of regions and masks, beside loops over their fork's definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from caffe_compat.errors import ShapeError

from ...cases import assert_close, check_both, check_gradients, feed, make, one_layer, run_onnx

RESIZE = 'type: "MaskResize" mask_resize_param { output_height: %d output_width: %d }'
WARP = 'type: "ROIWarping" roi_warping_param { pooled_h: %d pooled_w: %d spatial_scale: 0.0625 }'
# Of two images of 7 x 9 cells of 16 pixels: inside, over each edge, a point, inside out.
REGIONS = [
    [0, 17, 30, 95, 79],
    [1, -60, -28, 70, 50],
    [0, 88, 40, 260, 170],
    [1, 36, 52, 36, 52],
    [0, 90, 70, 40, 20],
    [1, 0, 0, 143, 111],
]


def place_of(at, size):
    """The cell before a place, the next one and the share of the next; None off the image."""
    if not -0.5 <= at <= size - 0.5:
        return None
    low = min(int(max(at, 0)), size - 1)
    return (low, low, 0.0) if low == size - 1 else (low, low + 1, max(at, 0) - low)


def bilinear(image, y, x):
    rows, columns = place_of(y, image.shape[0]), place_of(x, image.shape[1])
    if rows is None or columns is None:
        return 0.0
    (top, bottom, down), (left, right, across) = rows, columns
    above = (1 - across) * image[top, left] + across * image[top, right]
    below = (1 - across) * image[bottom, left] + across * image[bottom, right]
    return (1 - down) * above + down * below


def weight(at, pixel, size):
    """A pixel's share in a sample, as the fork's gradients compute it."""
    place = place_of(at, size)
    if place is None or pixel not in place[:2]:
        return 0.0
    return 1 - place[2] if pixel == place[0] else place[2]


def c_round(x):
    return math.copysign(math.floor(abs(x) + 0.5), x)


def samples_of(box, height, width):
    """The corners on the map, x before y, and the samples' rows and columns."""
    corners = [c_round(float(v) * 0.0625) for v in box]
    steps = [max(corners[i + 2] - corners[i], 0) / n for i, n in ((0, width), (1, height))]
    rows = [corners[1] + i * steps[1] for i in range(height)]
    columns = [corners[0] + j * steps[0] for j in range(width)]
    return corners, rows, columns


def test_mask_pooling():
    text = one_layer('type: "MaskPooling"', (2, 3, 4, 5), (2, 1, 4, 5))
    feeds = feed(make(text))
    y = check_both(text)["y"]
    for n, c, i, j in np.ndindex(*y.shape):
        assert y[n, c, i, j] == feeds["a"][n, c, i, j] * feeds["b"][n, 0, i, j]
    check_gradients(text)
    with pytest.raises(ShapeError, match=r"a mask \(N, 1, H, W\)"):
        make(one_layer('type: "MaskPooling"', (2, 3, 4, 5), (2, 3, 4, 5)))


@pytest.mark.parametrize("size", [(14, 14), (4, 5), (6, 11), (30, 50), (1, 1)])
def test_mask_resize(size):
    """Smaller, larger, as large and much larger, where the last samples are beyond the edge."""
    text = one_layer(RESIZE % size, (2, 3, 6, 9))
    net = make(text)
    feeds = feed(net)
    y = check_both(text)["y"]
    want, dx = np.zeros(y.shape), np.zeros((2, 3, 6, 9))
    for n, c, i, j in np.ndindex(*y.shape):
        want[n, c, i, j] = bilinear(feeds["a"][n, c], i * 6 / size[0], j * 9 / size[1])
    assert_close(y, want)
    assert bool(np.any(want == 0)) == (max(size[0] / 6, size[1] / 9) > 2)
    dy = np.random.default_rng(2).standard_normal(y.shape).astype(np.float32)
    steps = 6 / size[0], 9 / size[1]
    for n, c, h, w in np.ndindex(*dx.shape):
        first = int(h / steps[0]), int(w / steps[1])
        for i in range(first[0], min(first[0] + 2, size[0])):
            for j in range(first[1], min(first[1] + 2, size[1])):
                share = weight(i * steps[0], h, 6) * weight(j * steps[1], w, 9)
                dx[n, c, h, w] += share * dy[n, c, i, j]
    values = net.run(feeds)
    grads, _ = net.backward(values, {"y": dy})
    assert_close(grads["a"], dx)


def test_mask_resize_is_its_derivative_where_it_shrinks():
    check_gradients(one_layer(RESIZE % (14, 14), (2, 1, 21, 21)))


@pytest.mark.parametrize("size", [(2, 3), (7, 5), (14, 28)])
def test_roi_warping(size):
    text = one_layer(WARP % size, (2, 3, 7, 9), (len(REGIONS), 5))
    net = make(text)
    feeds = {**feed(net), "b": np.array(REGIONS, np.float32)}
    y = check_both(text, feeds=feeds)["y"]
    want = np.zeros(y.shape)
    for r, (image, *box) in enumerate(REGIONS):
        _, rows, columns = samples_of(box, *size)
        for c, i, j in np.ndindex(*y.shape[1:]):
            want[r, c, i, j] = bilinear(feeds["a"][image, c], rows[i], columns[j])
    assert_close(y, want)
    dy = np.random.default_rng(2).standard_normal(y.shape).astype(np.float32)
    values = net.run(feeds)
    grads, _ = net.backward(values, {"y": dy})
    assert_close(grads["a"], warped_features(dy, REGIONS, (2, 3, 7, 9), size))
    assert_close(grads["b"], warped_regions(dy, feeds["a"], REGIONS, size), axis=0)


def warped_features(dy, regions, shape, size):
    """The gradient at the features: of the samples in the windows that the fork visits."""
    dx = np.zeros(shape)
    for r, (image, *box) in enumerate(regions):
        (x0, y0, x1, y1), rows, columns = samples_of(box, *size)
        steps = max(y1 - y0 + 1, 1) / size[0], max(x1 - x0 + 1, 1) / size[1]
        for h, w in np.ndindex(*shape[2:]):
            if not (x0 <= w <= x1 and y0 <= h <= y1):
                continue
            spans = [
                range(
                    min(max(math.floor((at - start - 1) / step - 1), 0), n),
                    min(max(math.ceil((at - start + 1) / step), 0), n),
                )
                for at, start, step, n in zip((h, w), (y0, x0), steps, size, strict=True)
            ]
            for i in spans[0]:
                for j in spans[1]:
                    share = weight(rows[i], h, shape[2]) * weight(columns[j], w, shape[3])
                    dx[image, :, h, w] += share * dy[r, :, i, j]
    return dx


def warped_regions(dy, x, regions, size):
    """The gradient at the regions; a sample at the last cell or off the image has none."""
    height, width = x.shape[2:]
    grads = np.zeros((len(regions), 5))
    for r, (image, *box) in enumerate(regions):
        (x0, y0, x1, y1), rows, columns = samples_of(box, *size)
        for i, j in np.ndindex(*size):
            down, across = place_of(rows[i], height), place_of(columns[j], width)
            if down is None or across is None or down[0] + 1 >= height or across[0] + 1 >= width:
                continue
            a, b = x[image, :, down[0], across[0]], x[image, :, down[0], across[1]]
            c, d = x[image, :, down[1], across[0]], x[image, :, down[1], across[1]]
            right = (dy[r, :, i, j] * ((1 - down[2]) * (b - a) + down[2] * (d - c))).sum()
            below = (dy[r, :, i, j] * ((1 - across[2]) * (c - a) + across[2] * (d - b))).sum()
            part_x = (max(columns[j], 0) - x0) / max(x1 - x0 + 1, 1)
            part_y = (max(rows[i], 0) - y0) / max(y1 - y0 + 1, 1)
            grads[r, 1:] += [
                right * (1 - part_x),
                below * (1 - part_y),
                right * part_x,
                below * part_y,
            ]
    return grads * 0.0625


def test_roi_warping_by_hand():
    """A region of 2 x 2 cells from (1, 1): samples a cell apart, none of its far edge."""
    image = np.add.outer(10 * np.arange(4), np.arange(5)).astype(np.float32)
    net = make(one_layer(WARP % (2, 4), (1, 1, 4, 5), (1, 5)))
    feeds = {"a": image[None, None], "b": np.array([[0, 20, 9, 51, 46]], np.float32)}
    want = [[11, 11.5, 12, 12.5], [21, 21.5, 22, 22.5]]
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert_close(outputs["y"][0, 0], want)


def test_a_sample_of_nan_is_0():
    net = make(one_layer(WARP % (1, 1), (1, 1, 2, 2), (1, 5)))
    nan = np.full((1, 1, 2, 2), np.nan, np.float32)
    assert net.forward({"a": nan, "b": np.zeros((1, 5), np.float32)})["y"].item() == 0


@pytest.mark.parametrize(
    ("body", "shapes", "words"),
    [
        (RESIZE % (0, 3), [(2, 3, 6, 9)], "must be positive"),
        (RESIZE % (3, 3), [(2, 3)], "bottom of 4 axes"),
        (WARP % (0, 3), [(2, 3, 6, 9), (4, 5)], "must be positive"),
    ],
)
def test_refused(body, shapes, words):
    with pytest.raises(ShapeError, match=words):
        make(one_layer(body, *shapes))
