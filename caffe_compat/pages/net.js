"use strict";
const layers = JSON.parse(document.getElementById("data").textContent);
const view = document.getElementById("view");
const graph = document.getElementById("graph");
const details = document.getElementById("details");
const boxes = [...document.querySelectorAll(".box")];
const boxOf = new Map();
for (const box of boxes) for (const node of box.dataset.nodes.split(" ")) boxOf.set(Number(node), box);

// What the picture shows: x, y, width, height in its own units.
const whole = { w: Number(graph.dataset.width), h: Number(graph.dataset.height) };
let frame = { x: -10, y: -10, w: Math.min(whole.w, view.clientWidth * 1.1), h: 0 };

function show() {
  frame.h = (frame.w * view.clientHeight) / Math.max(view.clientWidth, 1);
  graph.setAttribute("viewBox", [frame.x, frame.y, frame.w, frame.h].join(" "));
}

function zoom(factor, px, py) {
  const w = Math.min(Math.max(frame.w * factor, 150), Math.max(whole.w, whole.h) * 2);
  const scale = w / frame.w;
  frame.x += px * frame.w * (1 - scale);
  frame.y += py * frame.h * (1 - scale);
  frame.w = w;
  show();
}

view.addEventListener("wheel", (event) => {
  event.preventDefault();
  const area = view.getBoundingClientRect();
  zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15, (event.clientX - area.left) / area.width,
    (event.clientY - area.top) / area.height);
}, { passive: false });

let grip = null;
view.addEventListener("pointerdown", (event) => {
  grip = { x: event.clientX, y: event.clientY, moved: false };
});
window.addEventListener("pointermove", (event) => {
  if (!grip) return;
  const scale = frame.w / view.clientWidth;
  frame.x -= (event.clientX - grip.x) * scale;
  frame.y -= (event.clientY - grip.y) * scale;
  grip = { x: event.clientX, y: event.clientY, moved: true };
  view.classList.add("drag");
  show();
});
window.addEventListener("pointerup", () => { grip = null; view.classList.remove("drag"); });
view.addEventListener("keydown", (event) => {
  const step = frame.w / 8;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (event.key === "+" || event.key === "-") zoom(event.key === "-" ? 1.25 : 0.8, 0.5, 0.5);
  else if (moves[event.key] && event.target === view) {
    frame.x += moves[event.key][0];
    frame.y += moves[event.key][1];
    show();
  } else return;
  event.preventDefault();
});

function element(name, text, parent) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function bars(counts, parent) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const most = Math.max(...counts);
  svg.setAttribute("class", "bars");
  svg.setAttribute("viewBox", `0 0 ${counts.length} 1`);
  svg.setAttribute("preserveAspectRatio", "none");
  counts.forEach((count, i) => {
    const bar = document.createElementNS(space, "rect");
    bar.setAttribute("x", i);
    bar.setAttribute("y", 1 - count / most);
    bar.setAttribute("width", 0.9);
    bar.setAttribute("height", count / most);
    svg.append(bar);
  });
  parent.append(svg);
}

function describe(index) {
  const layer = layers[index];
  element("h2", layer.name, details);
  element("p", layer.type, details).className = "soft";
  for (const finding of layer.findings) element("p", finding, details).className = "finding warning";
  for (const blob of layer.blobs) {
    const lines = [`${blob.name} ${blob.shape}`];
    if (blob.filler) lines.push(`filler ${blob.filler}` + (blob.variance ? `, E[w²] ${blob.variance}` : ""));
    if (blob.counts) {
      lines.push(`${blob.low.toPrecision(3)} to ${blob.high.toPrecision(3)}, mean ` +
        `${blob.mean.toPrecision(3)}, std ${blob.std.toPrecision(3)}`);
    }
    if (blob.lost) lines.push(`${blob.lost} values are not finite`);
    for (const line of lines) element("p", line, details);
    if (blob.counts) bars(blob.counts, details);
  }
  element("pre", layer.prototxt, details);
}

function choose(index, centre) {
  const box = boxOf.get(index);
  for (const other of boxes) other.classList.toggle("chosen", other === box);
  details.replaceChildren();
  for (const node of box.dataset.nodes.split(" ")) describe(Number(node));
  if (!centre) return;
  const rect = box.querySelector("rect");
  frame.x = Number(rect.getAttribute("x")) + Number(rect.getAttribute("width")) / 2 - frame.w / 2;
  frame.y = Number(rect.getAttribute("y")) - frame.h / 3;
  show();
}

for (const box of boxes) {
  const first = Number(box.dataset.nodes.split(" ")[0]);
  box.addEventListener("click", () => choose(first, false));
  box.addEventListener("keydown", (event) => { if (event.key === "Enter") choose(first, false); });
}

const table = document.querySelector("#table tbody");
for (const row of table.rows) row.addEventListener("click", () => choose(Number(row.dataset.node), true));
document.querySelectorAll("#table thead th").forEach((head, column) => {
  const button = head.querySelector("button");
  if (!button) return;
  let down = false;
  button.addEventListener("click", () => {
    down = !down;
    const key = (row) => row.cells[column].dataset.value;
    const rows = [...table.rows].sort((a, b) => key(a) === undefined
      ? a.cells[column].textContent.localeCompare(b.cells[column].textContent)
      : Number(key(a)) - Number(key(b)));
    table.append(...(down ? rows.reverse() : rows));
  });
});

const find = document.getElementById("find");
const found = document.getElementById("found");
find.form.addEventListener("submit", (event) => event.preventDefault());
function search() {
  const word = find.value.trim().toLowerCase();
  const hits = layers.map((layer, i) => [layer, i]).filter(([layer]) =>
    word && `${layer.name} ${layer.type}`.toLowerCase().includes(word)).map(([, i]) => i);
  const kept = new Set(hits.map((i) => boxOf.get(i)));
  for (const box of boxes) box.classList.toggle("hidden", Boolean(word) && !kept.has(box));
  for (const row of table.rows) row.classList.toggle("hidden", Boolean(word) && !hits.includes(Number(row.dataset.node)));
  found.textContent = word ? `${hits.length} of ${layers.length}` : "";
  if (hits.length) choose(hits[0], true);
}

// A link to page.html#conv2 searches for conv2.
function follow() {
  find.value = decodeURIComponent(location.hash.slice(1));
  if (find.value) search();
}

find.addEventListener("input", search);
window.addEventListener("hashchange", follow);
show();
follow();
window.addEventListener("resize", show);
