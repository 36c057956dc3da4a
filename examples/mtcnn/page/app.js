// A page on which a picture is dropped and the faces in it are drawn, on WebGPU or WebAssembly.

import * as ort from "ort";
import { detect } from "./detect.js";

const get = (id) => document.getElementById(id);
const say = (text) => { get("status").textContent = text; };

let device;
const nets = start();
nets.then(() => say(`Ready, on ${device}`), (error) => say(`Not loaded: ${error.message}`));

async function start() {
  const { url, integrity } = JSON.parse(get("wasm").textContent);
  ort.env.wasm.wasmBinary = await (await fetch(url, integrity ? { integrity } : {})).arrayBuffer();
  ort.env.wasm.numThreads = 1;
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  device = new URLSearchParams(location.search).get("device") ?? (adapter ? "webgpu" : "wasm");
  const sessions = [];
  for (const name of ["det1", "det2", "det3"]) {
    const options = { executionProviders: [device] };
    sessions.push(await ort.InferenceSession.create(`${name}.onnx`, options));
  }
  return sessions;
}

async function show(file) {
  try {
    await answer(file);
  } catch (error) {
    say(`${file.name}: ${error.message}`);
  }
}

async function answer(file) {
  const sessions = await nets;
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  const view = get("view");
  [view.width, view.height] = [bitmap.width, bitmap.height];
  const context = view.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const picture = context.getImageData(0, 0, view.width, view.height);
  say("Running");
  const begin = performance.now();
  const faces = await detect(picture, (net, { values, dims }) =>
    sessions[net].run({ data: new ort.Tensor("float32", values, dims) }));
  const spent = Math.round(performance.now() - begin);
  for (const { box, marks } of faces) draw(context, box, marks);
  const scores = faces.map(({ score }) => score.toFixed(3)).join(", ");
  const where = device === "webgpu" ? "WebGPU" : "WebAssembly";
  say(`${faces.length} face${faces.length === 1 ? "" : "s"} (${scores}), ${spent} ms on ${where}`);
  globalThis.faces = faces;
}

function draw(context, [left, top, right, bottom], marks) {
  context.strokeStyle = "lime";
  context.lineWidth = 2;
  context.strokeRect(left, top, right - left, bottom - top);
  context.fillStyle = "yellow";
  for (const [x, y] of marks) {
    context.beginPath();
    context.arc(x, y, 2.5, 0, 2 * Math.PI);
    context.fill();
  }
}

get("input").addEventListener("change", ({ target }) => target.files[0] && show(target.files[0]));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files[0]) show(event.dataTransfer.files[0]);
});
