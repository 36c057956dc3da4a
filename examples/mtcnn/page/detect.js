// The cascade of detect.py: boxes are [left, top, right, bottom], and in every blob x precedes y.

const SMALLEST = 20, FACTOR = 0.709; // the min face, in pixels; the ratio of successive scales
const CELL = 12, STRIDE = 2; // P-Net's window and stride, in pixels
const THRESHOLDS = [0.6, 0.7, 0.7]; // on the face probability, net by net

// Return boxes of a picture, bilinear and black outside, as a blob: [boxes, 3, width, height].
function blob({ data, width, height }, boxes, [columns, rows]) {
  const values = new Float32Array(boxes.length * 3 * columns * rows);
  const at = (x, y, channel) =>
    x < 0 || y < 0 || x >= width || y >= height ? 0 : data[4 * (y * width + x) + channel];
  const points = (from, to, count, size) => Array.from({ length: count }, (_, i) => {
    const p = (i + 0.5) * (to - from) / count + from - 0.5;
    return Math.min(Math.max(p, -1), size - 1e-3);
  });
  let next = 0;
  for (const [left, top, right, bottom] of boxes) {
    const xs = points(left, right, columns, width), ys = points(top, bottom, rows, height);
    for (let channel = 0; channel < 3; channel++) {
      for (const x of xs) {
        const x0 = Math.floor(x), across = x - x0;
        for (const y of ys) {
          const y0 = Math.floor(y), down = y - y0;
          const before = at(x0, y0, channel) * (1 - down) + at(x0, y0 + 1, channel) * down;
          const behind = at(x0 + 1, y0, channel) * (1 - down) + at(x0 + 1, y0 + 1, channel) * down;
          values[next++] = (before * (1 - across) + behind * across - 127.5) / 128;
        }
      }
    }
  }
  return { values, dims: [boxes.length, 3, columns, rows] };
}

// Return the faces, {box, score, marks}, that overlap no better one by more than the limit.
function suppress(faces, limit, ofSmaller = false) {
  const kept = [];
  const area = ([left, top, right, bottom]) => (right - left) * (bottom - top);
  for (const face of [...faces].sort((a, b) => b.score - a.score)) {
    const overlaps = kept.some(({ box }) => {
      const width = Math.min(box[2], face.box[2]) - Math.max(box[0], face.box[0]);
      const height = Math.min(box[3], face.box[3]) - Math.max(box[1], face.box[1]);
      const both = Math.max(width, 0) * Math.max(height, 0);
      const areas = [area(box), area(face.box)];
      const whole = ofSmaller ? Math.min(...areas) : areas[0] + areas[1] - both;
      return both > limit * whole;
    });
    if (!overlaps) kept.push(face);
  }
  return kept;
}

// Move a box by a net's offsets, which are fractions of the box's size.
function refine(box, offsets) {
  const size = [box[2] - box[0], box[3] - box[1]];
  return box.map((value, i) => value + offsets[i] * size[i % 2]);
}

// Return the smallest square around a face, with the same centre.
function square(face) {
  const [left, top, right, bottom] = face.box;
  const half = Math.max(right - left, bottom - top) / 2;
  const [x, y] = [(left + right) / 2, (top + bottom) / 2];
  return { ...face, box: [x - half, y - half, x + half, y + half] };
}

// Run P-Net over an image pyramid; return candidates.
async function propose(picture, run) {
  const { width, height } = picture;
  const candidates = [];
  for (let scale = CELL / SMALLEST; Math.min(width, height) * scale >= CELL; scale *= FACTOR) {
    const size = [Math.ceil(width * scale), Math.ceil(height * scale)];
    const outputs = await run(0, blob(picture, [[0, 0, width, height]], size));
    const [, , columns, rows] = outputs.prob1.dims;
    const cells = columns * rows, found = [];
    for (let cell = 0; cell < cells; cell++) {
      const score = outputs.prob1.data[cells + cell];
      if (score <= THRESHOLDS[0]) continue;
      const [x, y] = [STRIDE * Math.floor(cell / rows), STRIDE * (cell % rows)];
      const offsets = [0, 1, 2, 3].map((i) => outputs["conv4-2"].data[i * cells + cell]);
      found.push({ box: [x, y, x + CELL, y + CELL].map((n) => n / scale), score, offsets });
    }
    candidates.push(...suppress(found, 0.5).map(
      ({ box, score, offsets }) => ({ box: refine(box, offsets), score }),
    ));
  }
  return suppress(candidates, 0.7).map(square);
}

// Return the faces in a picture; `run(net, blob)` runs P-Net, R-Net or O-Net: 0, 1 or 2.
export async function detect(picture, run) {
  let faces = await propose(picture, run);
  for (const net of [1, 2]) {
    if (!faces.length) return faces;
    const side = 24 * net, last = net === 2;
    const outputs = await run(net, blob(picture, faces.map(({ box }) => box), [side, side]));
    const offsets = outputs[last ? "conv6-2" : "conv5-2"].data;
    const better = faces.flatMap(({ box }, n) => {
      const score = outputs.prob1.data[2 * n + 1];
      if (score <= THRESHOLDS[net]) return [];
      const points = last ? outputs["conv6-3"].data.slice(10 * n, 10 * n + 10) : [];
      const marks = Array.from(points.slice(0, 5), (x, i) => [
        box[0] + x * (box[2] - box[0]), box[1] + points[i + 5] * (box[3] - box[1]),
      ]);
      return [{ box: refine(box, offsets.slice(4 * n, 4 * n + 4)), score, marks }];
    });
    faces = suppress(better, 0.7, last);
    if (!last) faces = faces.map(square);
  }
  return faces;
}
