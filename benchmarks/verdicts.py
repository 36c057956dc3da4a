"""Record what signals and training make of many nets, for the doctor to be compared with.

`python benchmarks/verdicts.py` writes tests/golden/doctor/facts.json and docs/verdicts.md, and with
names of nets records those alone. It needs torch, and takes about ten minutes on one core. For each
net of tests/doctor/zoo.py:

- signals: on crops of a photograph, at five seeds, Var[y] at the end over the input's
  mean square and the gradient's sum of squares at the start over that at the end;
- training: forty steps of SGD (momentum 0.9) on one batch of 20 crops, to tell their ten places
  (or bright pixels), at the best of four learning rates: the least loss of three steps on end
  over that of guessing each class as often as it occurs. A net that carries no signal cannot do
  better than 1, whatever it does with its biases, and one that explodes does not come down to 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "examples/mtcnn/astronaut.png"
FACTS = ROOT / "tests/golden/doctor/facts.json"
SEEDS = range(1701, 1706)
RATES = (0.01, 0.03, 0.003, 0.1)
LEARNT, LOWERED = 0.6, 0.9  # the loss at which no further rate is tried; at which it is lowered
PAGE = ROOT / "docs/verdicts.md"
TEXT = """# Forty nets: what the doctor says, and what training does

The output of `python benchmarks/verdicts.py`. Each net has the structure of the published one, few
channels and small images (`tests/doctor/zoo.py`), and is measured at five seeds on crops of a
photograph: the signal that its last layer reads over the input's mean square, and the gradient's
sum of squares at the first layer over that at the last. Then it is trained: forty steps of SGD with
a momentum of 0.9 on one batch of twenty crops, to tell their ten places (or bright pixels), at the
best of four learning rates. Loss is the least one of three steps on end, over that of guessing; a
net that carries no signal stays at 1, and one that explodes above it, or diverges.

The doctor, which sees random input alone and trains nothing, finds the same nets severely wrong as
training does. A test holds it to that.

| net | forward | backward | loss | doctor |
|---|---|---|---|---|
"""
STEPS, PICTURES = 40, 20


def pictures(shape: tuple[int, ...], classes: int) -> tuple[Any, Any]:
    """Return crops of a picture, of mean 0 and std 1, and their places, or each pixel's class.

    Two crops around each of ten places; a pixel's class is whether it is bright.
    """
    from PIL import Image

    rng = np.random.default_rng(0)
    photo = Image.open(PHOTO).convert("RGB").resize((6 * shape[3], 3 * shape[2]))
    whole = np.asarray(photo, np.float32).transpose(2, 0, 1)
    height, width = shape[2:]
    crops = []
    for row, column in ((row, column) for row in range(2) for column in range(5)):
        for _ in range(PICTURES // 10):
            y, x = row * height + rng.integers(1, 4), column * width + rng.integers(1, 4)
            crops.append(whole[:, y : y + height, x : x + width])
    data = np.stack(crops)
    data = np.ascontiguousarray((data - data.mean()) / data.std())
    if classes == 2:
        grey = data.mean(axis=1)
        return data, (grey > np.median(grey)).astype(np.int64)
    return data, np.repeat(np.arange(10), PICTURES // 10)


def train(text: str, *, dense: bool, seed: int) -> float:
    """Return the loss after forty steps over that of guessing, at the best learning rate."""
    losses = []
    for rate in RATES:
        losses.append(_train(text, dense=dense, seed=seed, rate=rate))
        if losses[-1] < LEARNT:
            break
    return min(losses)


def _train(text: str, *, dense: bool, seed: int, rate: float) -> float:
    import torch

    import caffe_compat.torch
    from caffe_compat.doctor.ends import find_ends
    from caffe_compat.doctor.variants import with_batch_statistics
    from caffe_compat.fillers.rng import make_rng
    from caffe_compat.net.params import fill

    graph = with_batch_statistics(_graph(text, PICTURES))
    net = fill(graph, make_rng("boost-1.64", seed))
    data, classes = pictures(graph.inputs[0].shape, 2 if dense else 10)
    ends = find_ends(graph)
    module = caffe_compat.torch.build(net, ends, versions=True).eval()
    x, target = torch.from_numpy(data), torch.from_numpy(classes)
    steady = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(steady, rate, momentum=0.9)
    losses: list[float] = []
    for _ in range(STEPS + 1):
        outputs = module(x)
        outputs = outputs if isinstance(outputs, dict) else {ends[0].name: outputs}
        scores = [outputs[end.name] for end in ends]
        scores = [s if dense else s.reshape(len(s), -1) for s in scores]
        loss = sum(torch.nn.functional.cross_entropy(s, target) for s in scores)
        losses.append(loss.item() / len(scores))
        if not np.isfinite(losses[-1]):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    share = np.bincount(classes.ravel()) / classes.size
    means = [np.mean(losses[i : i + 3]) for i in range(len(losses) - 2)]
    least = min((mean for mean in means if np.isfinite(mean)), default=np.inf)
    return float(least / -(share * np.log(share)).sum())


def measure(text: str, *, dense: bool) -> list[tuple[float, float]]:
    """Return what arrives of the signal, forward and backward, at each seed."""
    from caffe_compat.doctor.bench import Bench
    from caffe_compat.doctor.variants import with_batch_statistics

    graph = with_batch_statistics(_graph(text, 10))
    data, _ = pictures(graph.inputs[0].shape, 2 if dense else 10)
    picked = np.ascontiguousarray(data[:: PICTURES // 10])
    return [
        Bench(range(seed, seed + 1), "boost-1.64", picked).measure(graph).arrivals()
        for seed in SEEDS
    ]


def _graph(text: str, batch: int) -> Any:
    from tests.cases import graph_of

    return graph_of(text.replace("input_shape { dim: 4", f"input_shape {{ dim: {batch}"))


def page(facts: dict[str, dict[str, Any]]) -> str:
    """Return docs/verdicts.md."""
    rows = []
    for name, fact in facts.items():
        spans = (f"{min(fact[w]):.2g} to {max(fact[w]):.2g}" for w in ("forward", "backward"))
        verdict = "sound" if fact["loss"] < LOWERED else "**severe**"
        loss = f"{fact['loss']:.2f}" if fact["loss"] < 100 else "diverges"
        rows.append(f"| {name} | {' | '.join(spans)} | {loss} | {verdict} |\n")
    return TEXT + "".join(rows)


def main() -> None:
    """Record the nets that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nets", nargs="*", help="names of nets, or parts of them")
    names = parser.parse_args().nets
    sys.path.insert(0, str(ROOT))
    from tests.doctor.zoo import DENSE, NETS

    old = json.loads(FACTS.read_text()) if FACTS.exists() and names else {}
    facts = {name: old[name] for name in NETS if name in old}
    for name, write in NETS.items():
        if names and not any(part in name for part in names):
            continue
        text, dense = write(), name in DENSE
        signals = measure(text, dense=dense)
        loss = train(text, dense=dense, seed=SEEDS[0])
        facts[name] = {
            "forward": [float(f"{ahead:.3g}") for ahead, _ in signals],
            "backward": [float(f"{back:.3g}") for _, back in signals],
            "loss": min(float(f"{loss:.3f}"), 1e9),
        }
        print(f"{name:48} {json.dumps(facts[name])}", flush=True)
        FACTS.parent.mkdir(exist_ok=True)
        lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in facts.items())
        FACTS.write_text(f"{{\n{lines}\n}}\n")
    PAGE.write_text(page(facts), encoding="utf-8")


if __name__ == "__main__":
    main()
