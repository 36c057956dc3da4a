"""A module under DistributedDataParallel: two processes on the CPU as one of both batches."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from caffe_compat.torch import to_torch

from ..cases import make

NET = """
layer { name: "x" type: "Input" top: "x" top: "label"
  input_param { shape { dim: 4 dim: 3 dim: 6 dim: 5 } shape { dim: 4 } } }
layer { name: "conv/1" type: "Convolution" bottom: "x" top: "c"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "PReLU" bottom: "c" top: "c" }
layer { name: "fc" type: "InnerProduct" bottom: "c" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


def batches(count):
    numbers = torch.Generator().manual_seed(2)
    return [
        (torch.randn(8, 3, 6, 5, generator=numbers), torch.randint(5, (8,), generator=numbers))
        for _ in range(count)
    ]


def train(module, share):
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    for x, label in batches(5):
        optimizer.zero_grad()
        module(x[share], label[share]).backward()
        optimizer.step()


def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    module = to_torch(make(NET, phase="TRAIN"))
    train(DistributedDataParallel(module), slice(4 * rank, 4 * rank + 4))
    torch.save(module.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_as_one(tmp_path):
    mp.spawn(work, (str(tmp_path),), nprocs=2)
    one = to_torch(make(NET, phase="TRAIN"))
    train(one, slice(None))
    for rank in range(2):
        for key, tensor in torch.load(tmp_path / f"{rank}.pt").items():
            assert torch.allclose(tensor, one.state_dict()[key], rtol=1e-4, atol=1e-6), key
