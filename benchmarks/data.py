"""Images a second that the data layers read, beside real Caffe's and beside a plain loop.

    python benchmarks/data.py [--caffe PYTHON|PYTHONPATH] [--images 1000] [--turns 5]

Four sources of random images are made in a temporary folder: Datums of bytes at 227x227 with
mirror and mean_value; at 256x256 with a random crop and a mean_file; JPEG Datums likewise; and JPEG
files that ImageData resizes. The readers take turns; every turn is a process of its own that reads
a few batches, and then counts for a few seconds. The plain loop is what one would write by hand:
lmdb (or a list), protobuf or OpenCV, numpy, in one thread. Real Caffe runs its own layer, by
`net.forward()` on a net of nothing else: `--caffe` names a Python that has it, or the folder to put
on PYTHONPATH. All that is read lies in the page cache. The exit status is 1 if the first source is
read at less than 2.5 times Caffe's rate.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from caffe_compat.caffe_pb2 import Datum
from caffe_compat.data.database import create
from caffe_compat.data.mean import write_mean

GOAL = 2.5
BATCH = 64

OURS = """
import caffe_compat.data
reader = caffe_compat.data.batches("net.prototxt")
step = lambda: next(reader)
"""
CAFFE = """
import caffe
step = caffe.Net("net.prototxt", caffe.TRAIN).forward
"""
PLAIN = """
import itertools, cv2, numpy as np
from caffe_compat.caffe_pb2 import Datum
from google.protobuf import text_format
from caffe_compat.caffe_pb2 import NetParameter
from caffe_compat.weights import read_mean
layer = text_format.Parse(open("net.prototxt").read(), NetParameter()).layer[0]
p, crop = layer.transform_param, layer.transform_param.crop_size
mean = read_mean(p.mean_file)[0] if p.mean_file else np.array(p.mean_value, "f4").reshape(-1, 1, 1)
def records():
    if layer.type == "ImageData":
        size = (layer.image_data_param.new_width, layer.image_data_param.new_height)
        for line in open(layer.image_data_param.source):
            name, label = line.split()
            yield cv2.resize(cv2.imread(name), size).transpose(2, 0, 1), int(label)
        return
    import lmdb
    with lmdb.open(layer.data_param.source, readonly=True, lock=False) as env, env.begin() as txn:
        for _, value in txn.cursor():
            d = Datum.FromString(value)
            data = np.frombuffer(d.data, np.uint8)
            if d.encoded:
                yield cv2.imdecode(data, -1).transpose(2, 0, 1), d.label
            else:
                yield data.reshape(d.channels, d.height, d.width), d.label
def endless():
    while True:
        yield from records()
source = endless()
def step():
    images, labels = [], []
    for image, label in itertools.islice(source, BATCH):
        image = image - mean
        if crop:
            top, left = np.random.randint(0, np.array(image.shape[1:]) - crop + 1)
            image = image[:, top : top + crop, left : left + crop]
        images.append(image[:, :, ::-1] if np.random.randint(2) else image)
        labels.append(label)
    return {"data": np.stack(images), "label": np.array(labels, "f4")}
"""
FRAME = """
import os, sys, time
BATCH, seconds = int(sys.argv[1]), float(sys.argv[2])
{engine}
for _ in range(6):  # what was read ahead before the clock starts is not counted
    step()
count, start = 0, time.perf_counter()
while time.perf_counter() - start < seconds or count < 8:
    step()
    count += 1
print(count * BATCH / (time.perf_counter() - start), flush=True)
os._exit(0)
"""


def write_images(count: int, size: int) -> list[np.ndarray]:
    """Draw images of a photograph's kind: smooth, with some noise."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (8, 8, 3), np.uint8)
        smooth = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
        noise = rng.normal(0, 6, smooth.shape)
        images.append(np.clip(smooth + noise, 0, 255).astype(np.uint8))
    return images


def encode(image: np.ndarray) -> bytes:
    """Return a JPEG's bytes."""
    return cv2.imencode(".jpg", image)[1].tobytes()


def write_datums(path: Path, images: list[np.ndarray], *, encoded: bool) -> None:
    """Write an LMDB of raw or JPEG Datums."""
    with create(path, "lmdb") as writer:
        for i, image in enumerate(images):
            datum = Datum(channels=3, height=image.shape[0], width=image.shape[1], label=i % 10)
            datum.encoded = encoded
            planes = np.ascontiguousarray(image.transpose(2, 0, 1))
            datum.data = encode(image) if encoded else planes.tobytes()
            writer.put(b"%08d" % i, datum.SerializeToString())


DATA = """layer {{ name: "data" type: "Data" top: "data" top: "label"
  transform_param {{ mirror: true {transform} }}
  data_param {{ source: "{source}" batch_size: {batch} backend: LMDB }} }}
"""
CROPPED = 'crop_size: 227 mean_file: "mean.binaryproto"'
IMAGES = """layer {{ name: "data" type: "ImageData" top: "data" top: "label"
  transform_param {{ mirror: true mean_value: 104 mean_value: 117 mean_value: 123 crop_size: 227 }}
  image_data_param {{ source: "list.txt" batch_size: {batch} new_height: 256 new_width: 256 }} }}
"""


def write_sources(folder: Path, count: int) -> dict[str, str]:
    """Write the sources into a folder; return each one's net by what to call it."""
    small, large = write_images(count, 227), write_images(count, 256)
    write_datums(folder / "small", small, encoded=False)
    write_datums(folder / "large", large, encoded=False)
    write_datums(folder / "jpeg", large, encoded=True)
    write_mean(np.mean(large, axis=0).transpose(2, 0, 1).astype("f4"), folder / "mean.binaryproto")
    lines = []
    for i, image in enumerate(large):
        (folder / f"{i}.jpg").write_bytes(encode(cv2.resize(image, (320, 280))))
        lines.append(f"{i}.jpg {i % 10}\n")
    (folder / "list.txt").write_text("".join(lines))
    means = "mean_value: 104 mean_value: 117 mean_value: 123"
    return {
        "bytes, 227x227": DATA.format(source="small", transform=means, batch=BATCH),
        "bytes, crop of 256": DATA.format(source="large", transform=CROPPED, batch=BATCH),
        "JPEG, crop of 256": DATA.format(source="jpeg", transform=CROPPED, batch=BATCH),
        "JPEG files, resized": IMAGES.format(batch=BATCH),
    }


def rate(python: list[str], path: str, engine: str, folder: Path, seconds: float) -> float:
    """Run one turn in a process of its own; return its images a second."""
    environment = os.environ | ({"PYTHONPATH": path} if path else {}) | {"GLOG_minloglevel": "3"}
    code = FRAME.format(engine=engine)
    done = subprocess.run(
        [*python, "-c", code, str(BATCH), str(seconds)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Print a table of rates, and fail below the goal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--caffe", help="a Python that has pycaffe, or its folder")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    arguments = parser.parse_args()
    own = [sys.executable]
    engines = {"caffe_compat": (own, "", OURS), "a plain loop": (own, "", PLAIN)}
    if arguments.caffe:
        folder = Path(arguments.caffe).is_dir()
        python = own if folder else [str(Path(arguments.caffe).absolute())]
        path = str(Path(arguments.caffe).absolute()) if folder else ""
        engines["Caffe"] = (python, path, CAFFE)
    print(f"images a second, batches of {BATCH}, median of {arguments.turns} turns")
    print(f"{'':20}" + "".join(f"{name:>16}" for name in engines), "  over the others")
    missed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nets = write_sources(folder, arguments.images)
        for source, net in nets.items():
            (folder / "net.prototxt").write_text(net)
            rates: dict[str, list[float]] = {name: [] for name in engines}
            for _ in range(arguments.turns):
                for engine, (python, path, code) in engines.items():
                    rates[engine].append(rate(python, path, code, folder, arguments.seconds))
            medians = {engine: statistics.median(values) for engine, values in rates.items()}
            ours, *others = medians.values()
            ratios = ", ".join(f"{ours / other:.2f}x" for other in others)
            print(f"{source:20}" + "".join(f"{n:16,.0f}" for n in medians.values()), f"  {ratios}")
            missed |= source == next(iter(nets)) and "Caffe" in medians and ours < GOAL * others[-1]
    sys.exit(missed)


if __name__ == "__main__":
    main()
