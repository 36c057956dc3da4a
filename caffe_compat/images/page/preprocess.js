// From a picture to a net's input: caffe_compat's Preprocess, step by step, to the bit.
// Numbers here are float64; Math.fround rounds to float32 where numpy computes in float32.

const f = Math.fround;

// Return {data: Float32Array, dims: [1, C, H, W] or [1, C, W, H]} of RGBA pixels.
export function preprocess(rgba, width, height, p) {
  const { channels, net } = p;
  const own = p.resize ?? [height, width];
  const fitting = [net[0] ?? own[0], net[1] ?? own[1]];
  const plain = !p.resize && !p.crop;
  const before = plain ? fitting : own;
  const after = plain ? fitting : p.crop ?? fitting;
  if (after[0] > before[0] || after[1] > before[1]) {
    throw new Error(`cannot crop ${after.join("x")} out of ${before.join("x")}`);
  }
  let x = pixels(rgba, width * height, channels);
  if (height !== before[0] || width !== before[1]) {
    x = resize(x, height, width, channels, before);
  }
  const [top, left] = [(before[0] - after[0]) >> 1, (before[1] - after[1]) >> 1];
  const [rows, columns] = after;
  const data = new Float32Array(channels * rows * columns);
  for (let c = 0; c < channels; c++) {
    const from = p.order === "bgr" ? channels - 1 - c : c;
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        let value = x[((top + i) * before[1] + left + j) * channels + from];
        if (p.rawScale !== 1) value = f(value * f(p.rawScale));
        if (p.mean.length) value = f(value - meanAt(p, c, i, j, after));
        if (p.scale !== 1) value = f(value * f(p.scale));
        const place = p.transposed ? j * rows + i : i * columns + j;
        data[c * rows * columns + place] = value;
      }
    }
  }
  return { data, dims: p.transposed ? [1, channels, columns, rows] : [1, channels, rows, columns] };
}

// The mean is one value, one for each channel, or an image of the size after the crop.
function meanAt(p, c, i, j, after) {
  if (p.mean.length === 1) return f(p.mean[0]);
  if (p.mean.length === p.channels) return f(p.mean[c]);
  return f(p.mean[(c * after[0] + i) * after[1] + j]);
}

// RGB, or grey as OpenCV and Pillow round it.
function pixels(rgba, count, channels) {
  const x = new Uint8Array(count * channels);
  for (let i = 0; i < count; i++) {
    const [r, g, b] = [rgba[4 * i], rgba[4 * i + 1], rgba[4 * i + 2]];
    if (channels === 1) x[i] = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;
    else x.set([r, g, b], 3 * i);
  }
  return x;
}

// Bilinear, half-pixel centres, no antialiasing; beyond the border lies the image's min.
function resize(x, height, width, channels, size) {
  let [low, high] = [255, 0];
  for (const value of x) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!(high > low)) return new Float32Array(size[0] * size[1] * channels).fill(low);
  const unit = Float32Array.from(x, (value) => f(f(value - low) / f(high - low)));
  const tall = interpolate(unit, height, size[0], 1, width * channels);
  const wide = interpolate(tall, width, size[1], size[0], channels);
  return Float32Array.from(wide, (value) => value * (high - low) + low);
}

// Interpolate along the middle axis of (outer, length, inner) to `count` points.
function interpolate(x, length, count, outer, inner) {
  const y = new Float64Array(outer * count * inner);
  const step = length / count;
  for (let k = 0; k < count; k++) {
    const at = (k + 0.5) * step - 0.5;
    const low = Math.floor(at);
    const share = at - low;
    for (const [index, weight] of [[low, 1 - share], [low + 1, share]]) {
      if (index < 0 || index >= length) continue;
      for (let o = 0; o < outer; o++) {
        const [from, to] = [(o * length + index) * inner, (o * count + k) * inner];
        for (let i = 0; i < inner; i++) y[to + i] += x[from + i] * weight;
      }
    }
  }
  return y;
}
