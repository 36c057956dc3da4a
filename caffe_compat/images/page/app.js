// A page on which a picture is dropped and a net's answers appear, on WebGPU or WebAssembly.

import * as ort from "ort";
import { preprocess } from "./preprocess.js";

const TOP = 5, LEAST = 0.5, MAPS = 32;
const get = (id) => document.getElementById(id);
const say = (text) => { get("status").textContent = text; };

let settings, session, device;

// Load the model once; resolves when the page is ready.
export const ready = start().then(
  () => say(`Ready, on ${device}`),
  (error) => { say(`The model does not load: ${error.message}`); throw error; },
);

async function start() {
  settings = await (await fetch("model.json")).json();
  const { url, integrity } = settings.wasm;
  const wasm = await fetch(url, integrity ? { integrity } : {});
  if (!wasm.ok) throw new Error(`${url}: ${wasm.status}`);
  ort.env.wasm.wasmBinary = await wasm.arrayBuffer();
  ort.env.wasm.numThreads = 1;
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  const providers = adapter ? ["webgpu", "wasm"] : ["wasm"];
  const forced = new URLSearchParams(location.search).get("device");
  device = forced ?? (adapter ? "webgpu" : "wasm");
  session = await ort.InferenceSession.create("model.onnx", {
    executionProviders: forced ? [forced] : providers,
  });
}

// Run the net on a picture: {name: {data, dims}}.
export async function run(picture) {
  const { data, dims } = preprocess(picture.data, picture.width, picture.height, settings);
  const feeds = { [settings.input]: new ort.Tensor("float32", data, dims) };
  return session.run(feeds);
}

// Decode a file as it is: no colour management, EXIF's orientation applied.
async function decode(file) {
  const bitmap = await createImageBitmap(file, {
    colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image",
  });
  const view = get("view");
  [view.width, view.height] = [bitmap.width, bitmap.height];
  const context = view.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, view.width, view.height);
}

export async function show(file) {
  await ready;
  try {
    const picture = await decode(file);
    say("Running");
    const start = performance.now();
    const outputs = await run(picture);
    const spent = performance.now() - start;
    get("answers").replaceChildren(...Object.entries(outputs).flatMap(([name, tensor]) =>
      [heading(name), answer(tensor)]));
    say(`${file.name}: ${spent.toFixed(0)} ms on ${device}`);
  } catch (error) {
    say(`${file.name}: ${error.message}`);
    throw error;
  }
}

function heading(name) {
  const element = document.createElement("h2");
  element.textContent = name;
  return element;
}

function answer({ data, dims }) {
  const wide = dims.slice(1).filter((n) => n !== 1);
  if (dims.length === 4 && dims[1] === 1 && dims[3] === 7) return boxes(data);
  if (wide.length <= 1) return classes(data);
  return maps(data, dims);
}

const label = (index) => settings.labels[index] ?? String(index);

function table(rows) {
  const element = document.createElement("table");
  for (const row of rows) {
    const line = element.insertRow();
    for (const cell of row) line.insertCell().textContent = cell;
  }
  return element;
}

function classes(data) {
  const order = [...data.keys()].sort((a, b) => data[b] - data[a]).slice(0, TOP);
  return table(order.map((index) => [data[index].toFixed(4), label(index)]));
}

// DetectionOutput's rows: image, label, score, and the corners as shares of the picture.
function boxes(data) {
  const view = get("view"), context = view.getContext("2d");
  const rows = [];
  context.lineWidth = Math.max(2, view.width / 200);
  context.font = `${Math.max(12, view.width / 40)}px system-ui`;
  for (let i = 0; i + 7 <= data.length; i += 7) {
    const [image, kind, score, left, top, right, bottom] = data.slice(i, i + 7);
    if (image < 0 || kind < 0 || score < LEAST) continue;
    const [x, y] = [left * view.width, top * view.height];
    const [w, h] = [right * view.width - x, bottom * view.height - y];
    context.strokeStyle = context.fillStyle = `hsl(${(kind * 137) % 360} 90% 50%)`;
    context.strokeRect(x, y, w, h);
    context.fillText(`${label(kind)} ${score.toFixed(2)}`, x + 4, Math.max(y - 4, 12));
    rows.push([score.toFixed(4), label(kind), [x, y, x + w, y + h].map((n) => n.toFixed(1)).join(", ")]);
  }
  return rows.length ? table(rows) : document.createTextNode("nothing found");
}

// The first feature maps of the first image, each from its min in black to its max in white.
function maps(data, dims) {
  const [height, width] = dims.slice(-2), size = height * width;
  const element = document.createElement("div");
  element.className = "maps";
  for (let k = 0; k < Math.min(MAPS, data.length / size); k++) {
    const map = data.slice(k * size, (k + 1) * size);
    let [low, high] = [Infinity, -Infinity];
    for (const value of map) [low, high] = [Math.min(low, value), Math.max(high, value)];
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height, canvas.title] = [width, height, `${k}: ${low} to ${high}`];
    const context = canvas.getContext("2d"), picture = context.createImageData(width, height);
    map.forEach((value, i) => {
      const grey = high > low ? (255 * (value - low)) / (high - low) : 0;
      picture.data.set([grey, grey, grey, 255], 4 * i);
    });
    context.putImageData(picture, 0, 0);
    element.append(canvas);
  }
  return element;
}

const drop = get("drop");
get("input").addEventListener("change", ({ target }) => target.files[0] && show(target.files[0]));
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) show(event.dataTransfer.files[0]);
  });
}
