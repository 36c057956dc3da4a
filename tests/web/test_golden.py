"""Golden nets on onnxruntime's WebGPU provider, on a GPU in software: real Caffe's numbers."""

from __future__ import annotations

import base64
import threading
from functools import partial
from http.server import ThreadingHTTPServer

import numpy as np
import pytest

import caffe_compat
from caffe_compat.images.web import ORT, _Handler
from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.passes import simplify, webgpu
from caffe_compat.runtime.models import join

from ..cases import GOLDEN, assert_close, feed, load, make, one_layer
from ..test_models import RECORDS, files_of

CASES = [
    folder
    for group in ("layers", "layers_ssd")
    for folder in sorted((GOLDEN / group).iterdir())
    if (folder / "io.npz").exists()
]
RUN = """async ([model, feeds]) => {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const session = await ort.InferenceSession.create(bytes(model), {
    executionProviders: ["webgpu"], logSeverityLevel: 4,
  });
  const tensors = {};
  for (const [name, [data, dims]] of Object.entries(feeds)) {
    tensors[name] = new ort.Tensor("float32", new Float32Array(bytes(data).buffer), dims);
  }
  const outputs = {};
  for (const [name, { data, dims }] of Object.entries(await session.run(tensors))) {
    outputs[name] = [[...new Uint32Array(data.buffer, data.byteOffset, data.length)], dims];
  }
  await session.release();
  return outputs;
}"""


@pytest.fixture(scope="module")
def run(browser, ort_web, tmp_path_factory):
    """A function that runs a lowered net in the browser."""
    folder = tmp_path_factory.mktemp("page")
    script, wasm = ORT
    (folder / "index.html").write_text(
        f'<script type="module">import * as ort from "./{script}"; '
        f'ort.env.wasm.wasmBinary = await (await fetch("./{wasm}")).arrayBuffer(); '
        "ort.env.wasm.numThreads = 1; window.ort = ort;</script>"
    )
    for name in ORT:
        (folder / name).symlink_to(ort_web / name)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
    page.wait_for_function("window.ort")
    assert page.evaluate("navigator.gpu.requestAdapter().then((adapter) => !!adapter)")

    def call(lowered, feeds):
        model = join(webgpu.fit(lowered)).SerializeToString()
        names = {value.name for value in lowered.model.graph.input}
        packed = {
            n: [text(np.float32(a).tobytes()), a.shape] for n, a in feeds.items() if n in names
        }
        return {
            name: np.array(bits, np.uint32).view(np.float32).reshape(dims)
            for name, (bits, dims) in page.evaluate(RUN, [text(model), packed]).items()
        }

    yield call
    page.close()
    server.shutdown()
    server.server_close()


def text(data):
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_caffes_numbers(run, folder):
    net, io = load(folder)
    feeds = {key[3:]: array for key, array in io.items() if key.startswith("in:")}
    if "priorbox" in folder.name:  # of the picture it reads the size alone
        feeds = {v.blob: np.zeros(v.shape, np.float32) for v in net.graph.inputs}
    outputs = run(simplify(lower(net)), feeds)
    wanted = {key[4:]: array for key, array in io.items() if key.startswith("out:")}
    assert outputs.keys() & wanted.keys()
    for name in outputs.keys() & wanted.keys():
        assert_close(outputs[name], wanted[name], 1e-4, name)


@pytest.mark.parametrize(("name", "record"), RECORDS)
def test_real_models(run, name, record):
    with np.load(GOLDEN / "models" / name / record) as io:
        feeds = {key[3:]: io[key] for key in io if key.startswith("in:")}
        want = {key[4:]: io[key] for key in io if key.startswith("out:")}
    inputs = {blob: array.shape for blob, array in feeds.items()}
    net = caffe_compat.load(*files_of(name), inputs=inputs)
    if name == "hyperlpr_finemapping":  # recorded with OpenCV, which has the layer's name
        tops = {node.layer.name: node.tops[0].blob for node in net.graph.nodes}
        want = {tops[layer]: array for layer, array in want.items()}
    outputs = run(simplify(lower(net)), feeds)
    assert outputs.keys() == want.keys()
    for blob, array in outputs.items():
        axis = 2 if array.ndim == 3 else 1  # ultraface's boxes and scores are (images, boxes, ...)
        assert_close(array, want[blob], 1e-4, blob, axis)


@pytest.mark.parametrize(
    ("groups", "outputs"),
    [(2, 5), (2, 6), (2, 9), (2, 33), (2, 8), (2, 12), (3, 4), (7, 5), (6, 2)],
)
def test_convolutions_of_groups(run, groups, outputs):
    body = (
        'type: "Convolution" convolution_param { kernel_size: 3 pad: 1 '
        f"num_output: {groups * outputs} group: {groups} "
        'weight_filler { type: "gaussian" std: 1 } bias_filler { type: "gaussian" std: 1 } }'
    )
    net = make(one_layer(body, (2, groups * 2, 7, 5)))
    feeds = feed(net)
    assert_close(run(simplify(lower(net)), feeds)["y"], net.forward(feeds)["y"], 1e-4, "y")
