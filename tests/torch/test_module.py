"""The torch module as a PyTorch user has it in hand."""

from __future__ import annotations

import copy
import io
import logging

import numpy as np
import pytest
import torch
from PIL import Image
from torch import fx, nn

import caffe_compat
from caffe_compat.errors import CaffeCompatError, ShapeError, UnsupportedError, WeightsError
from caffe_compat.torch import CaffeModule, build, to_torch

from ..cases import assert_close, feed, make, one_layer
from .agreement import outputs_of

NET = """
name: "small"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 3 dim: 9 dim: 8 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 4 kernel_size: 3 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer { name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
layer { name: "relu1" type: "PReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "drop1" type: "Dropout" bottom: "pool1" top: "pool1" }
layer { name: "fc1" type: "InnerProduct" bottom: "pool1" top: "fc1" param { lr_mult: 0 }
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "fc1" top: "prob" }
"""


@pytest.fixture
def files(tmp_path):
    """The small net as files, with weights that no filler draws."""
    (tmp_path / "net.prototxt").write_text(NET)
    net, rng = make(NET), np.random.default_rng(3)
    for arrays in net.arrays:
        for array in arrays:
            array += rng.random(array.shape, np.float32)
    caffe_compat.save(net, tmp_path / "net.caffemodel")
    return tmp_path / "net.prototxt", tmp_path / "net.caffemodel"


def numbers():
    """An input of the small net."""
    return torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(5))


def test_reads_like_the_prototxt(files):
    module = caffe_compat.to_torch(*files)
    assert isinstance(module, fx.GraphModule)
    assert [*dict(module.named_children())] == [
        "conv1", "bn1", "scale1", "relu1", "pool1", "drop1", "fc1", "prob",
    ]  # fmt: skip
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.PReLU, nn.MaxPool2d, nn.Dropout, nn.Linear, nn.Softmax)
    own = [child for name, child in module.named_children() if name != "scale1"]
    assert all(isinstance(child, kind) for child, kind in zip(own, kinds, strict=True))
    assert list(module.state_dict()) == [
        "conv1.weight", "conv1.bias", "bn1.running_mean", "bn1.running_var", "bn1.factor",
        "scale1.scale", "scale1.bias", "relu1.weight", "fc1.weight", "fc1.bias",
    ]  # fmt: skip
    assert "fc1 = self.fc1(" in module.code and "return prob" in module.code
    assert type(module).__name__ == "small"
    assert module.names.params["relu1.weight"] == ("relu1", 0)


def test_outputs_by_name_on_request(files):
    net = caffe_compat.load(*files)
    feeds = feed(net)
    values = net.forward(feeds)
    x = torch.tensor(feeds["data"])
    assert_close(caffe_compat.to_torch(net)(x).detach().numpy(), values["prob"], 1e-5)
    outputs = to_torch(net, blobs=("conv1", "pool1"))(data=x)
    assert list(outputs) == ["prob", "conv1", "pool1"]
    for blob, tensor in outputs.items():
        assert_close(tensor.detach().numpy(), values[blob], 1e-5, blob)
    assert_close(to_torch(net, logits=True)(x).detach().numpy(), values["fc1"], 1e-5)
    with pytest.raises(ShapeError, match="no blob 'fc7'"):
        to_torch(net, blobs=("fc7",))


def test_logits_of_losses():
    text = """
layer { name: "x" type: "Input" top: "x" top: "label"
  input_param { shape { dim: 2 dim: 3 } shape { dim: 2 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 4 } }
layer { name: "b" type: "InnerProduct" bottom: "x" top: "b" inner_product_param { num_output: 5 } }
layer { name: "loss1" type: "SoftmaxWithLoss" bottom: "a" bottom: "label"
  top: "loss1" loss_weight: 0.3 }
layer { name: "loss2" type: "SoftmaxWithLoss" bottom: "b" bottom: "label" top: "loss2" }
layer { name: "accuracy" type: "Accuracy" bottom: "b" bottom: "label" top: "accuracy" }
"""
    net = make(text)
    module = to_torch(net, logits=True)
    assert module.names.inputs == {"x": "x"}  # the labels are not asked for
    assert set(module(torch.ones(2, 3))) == {"a", "b"}
    outputs = to_torch(net)(torch.ones(2, 3), torch.tensor([1, 0]))
    assert set(outputs) == {"accuracy", "loss1", "loss2"}
    total = to_torch(net).total_loss(outputs)
    assert total.item() == pytest.approx(0.3 * np.log(4) + np.log(5))
    with pytest.raises(ShapeError, match="no output"):
        module.total_loss(module(torch.ones(2, 3)))


def test_any_batch_and_size_that_the_net_takes(files):
    module = to_torch(*files)
    with torch.no_grad():
        assert module(torch.ones(7, 3, 9, 8)).shape == (7, 5)
        with pytest.raises(ShapeError, match=r"input 'data' is \?x3x9x8, and was given 7x3x9x9"):
            module(torch.ones(7, 3, 9, 9))  # fc1 has weights for one size alone
        with pytest.raises(ShapeError, match=r"'data'.* is not given"):
            module()
        with pytest.raises(ShapeError, match="unknown"):
            module(image=torch.ones(1, 3, 9, 8))
        with pytest.raises(ShapeError, match="2"):
            module(torch.ones(1, 3, 9, 8), torch.ones(1))


@pytest.mark.parametrize("size", [(8, 9), (9, 8), (10, 12), (11, 5)])
def test_pooling_rounds_as_caffe_at_any_size(size):
    text = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "c" type: "Convolution" bottom: "x" top: "c"
  convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "p" type: "Pooling" bottom: "c" top: "p"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "q" type: "Pooling" bottom: "p" top: "q"
  pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } }
"""
    module = to_torch(make(text))
    other = make(text, inputs={"x": (2, 3, *size)})
    feeds = feed(other)
    got = module(torch.tensor(feeds["x"])).detach().numpy()
    assert_close(got, other.forward(feeds)["q"], 1e-5)


def test_copies_and_pickles(files):
    module = to_torch(*files)
    x = numbers()
    want = module(x)
    pickled = io.BytesIO()
    torch.save(module, pickled)
    pickled.seek(0)
    for other in (copy.deepcopy(module), torch.load(pickled, weights_only=False)):
        assert isinstance(other, CaffeModule) and other.code == module.code
        assert torch.equal(other(x), want)
        with torch.no_grad():
            other.conv1.weight += 1
        assert torch.equal(module(x), want) and not torch.equal(other(x), want)
        other.load_state_dict(module.state_dict(), strict=True)
        assert torch.equal(other(x), want)
        assert other.names == module.names
        assert [a.tobytes() for a in other.to_net().arrays[1]] == [
            a.tobytes() for a in module.to_net().arrays[1]
        ]


def test_state_dict_without_torchs_notes(files):
    """As safetensors gives it: no versions, and no count of batches for BatchNorm."""
    module = to_torch(*files)
    plain = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    module.load_state_dict(plain, strict=True)


def test_parameters_lie_in_the_file_until_they_are_written(files):
    before = files[1].read_bytes()
    module = to_torch(*files, logits=True)
    twin = to_torch(*files)
    optimizer = torch.optim.SGD(module.parameters(), 0.5)
    module(numbers()).square().sum().backward()
    optimizer.step()
    assert not torch.equal(module.conv1.weight, twin.conv1.weight)
    assert files[1].read_bytes() == before
    with files[1].open("r+b") as file:  # as another program may
        file.truncate(100)
    with pytest.raises(WeightsError, match="was changed"):
        twin(numbers())


def test_groups_by_caffes_multipliers(files):
    module = to_torch(*files)
    names = {id(parameter): key for key, parameter in module.named_parameters()}
    groups = {
        frozenset(names[id(p)] for p in group["params"]): (group["lr"], group["weight_decay"])
        for group in module.parameter_groups(0.1, 0.01)
    }
    assert groups == {
        frozenset({"conv1.weight", "scale1.scale", "scale1.bias", "fc1.bias"}): (0.1, 0.01),
        frozenset({"conv1.bias"}): (0.2, 0),
        frozenset({"relu1.weight"}): (0.1, 0),  # a slope: no decay
    }
    assert not module.fc1.weight.requires_grad  # lr_mult: 0
    torch.optim.Adam(module.parameter_groups(0.1, 0.01))


def test_saved_as_caffe_reads_it(files, tmp_path):
    module = to_torch(*files)
    x = numbers()
    module.train()
    torch.optim.SGD(module.parameters(), 0.1).zero_grad()
    module(x).sum().backward()
    module.eval()
    want = module(x).detach().numpy()
    for name in ("tuned.caffemodel", "tuned.caffemodel.h5"):
        caffe_compat.save(module, tmp_path / name)
        again = caffe_compat.load(files[0], tmp_path / name)
        assert_close(again.forward({"data": x.numpy()})["prob"], want, 1e-5, axis=None)
    caffe_compat.save(module, tmp_path / "tuned.onnx")
    outputs = caffe_compat.Session(tmp_path / "tuned.onnx", "cpu").run({"data": x.numpy()})
    assert_close(outputs["prob"], want, 1e-5, axis=None)


def test_a_head_of_another_size_is_saved(files, tmp_path):
    module = to_torch(*files)
    module.fc1 = nn.Linear(module.fc1.in_features, 7)
    net = module.to_net()
    assert net.graph.blob("prob").shape == (2, 7)
    caffe_compat.save(module, tmp_path / "tuned.caffemodel")
    caffe_compat.save(module, tmp_path / "tuned.prototxt")
    again = to_torch(tmp_path / "tuned.prototxt", tmp_path / "tuned.caffemodel")
    x = numbers()
    assert_close(again(x).detach().numpy(), module(x).detach().numpy(), 1e-5)
    module.fc1 = nn.Identity()
    with pytest.raises(WeightsError, match=r"layer 'fc1': the module has no 'fc1\.weight'"):
        module.to_net()
    module.fc1 = nn.Linear(3, 7)
    with pytest.raises(WeightsError, match=r"layer 'fc1': weight is \(7, 3\)"):
        module.to_net()


def test_dtypes(files):
    x = numbers()
    want = to_torch(*files)(x)
    double = to_torch(*files, dtype=torch.float64)
    assert double(x.double()).dtype == torch.float64
    assert torch.allclose(double(x.double()).float(), want, atol=1e-5)
    half = to_torch(*files, dtype=torch.bfloat16, device="cpu")
    assert half(x.bfloat16()).dtype == torch.bfloat16
    assert torch.allclose(half(x.bfloat16()).float(), want, atol=0.05)


@pytest.mark.parametrize("stored", ["float16", "double"])
def test_files_of_other_types(files, stored):
    """What the file has in half or double precision are float32 parameters here."""
    from caffe_compat.caffe_pb2 import NetParameter

    message = NetParameter.FromString(files[1].read_bytes())
    for layer in message.layer:
        for blob in layer.blobs:
            numbers = np.array(blob.data, np.float32)
            del blob.data[:]
            if stored == "double":
                blob.double_data.extend(numbers.astype(np.float64))
            else:
                blob.raw_data_type = 2  # NVCaffe's FLOAT16
                blob.raw_data = numbers.astype(np.float16).tobytes()
    files[1].write_bytes(message.SerializeToString())
    net = caffe_compat.load(*files)
    feeds = feed(net)
    module = to_torch(net)
    assert module.conv1.weight.dtype == torch.float32
    got = module(torch.tensor(feeds["data"])).detach().numpy()
    assert_close(got, net.forward(feeds)["prob"], 1e-5)


def test_shared_parameters_are_tied():
    text = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
"""
    module = to_torch(make(text))
    assert module.a.weight is module.b.weight and module.a.bias is module.b.bias
    assert len(list(module.parameters())) == 2
    copied = copy.deepcopy(module)
    assert copied.a.weight is copied.b.weight


def test_a_shared_blob_of_two_shapes():
    """PERMISSIVE sharing looks at the count alone: one parameter, under two shapes."""
    text = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" }
  inner_product_param { num_output: 2 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b"
  param { name: "w" share_mode: PERMISSIVE }
  inner_product_param { num_output: 4 bias_term: false } }
"""
    net = make(text)
    module = build(net, outputs_of(net))
    assert len(list(module.parameters())) == 1
    feeds = feed(net)
    assert_close(module(torch.tensor(feeds["x"])).detach().numpy(), net.forward(feeds)["b"], 1e-5)
    assert_close(module.to_net().arrays[2][0], net.arrays[2][0], 0)


def test_a_blob_that_is_read_before_and_after_a_layer_in_place():
    text = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }
layer { name: "c" type: "Convolution" bottom: "x" top: "c"
  convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "p" type: "Power" bottom: "c" top: "c" power_param { shift: 0.5 } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "t" type: "TanH" bottom: "c" top: "c" }
layer { name: "sum" type: "Eltwise" bottom: "c" bottom: "x" top: "sum" }
layer { name: "relu" type: "ReLU" bottom: "x" top: "y" }
layer { name: "last" type: "Eltwise" bottom: "sum" bottom: "y" top: "last"
  eltwise_param { operation: PROD } }
"""
    net = make(text)
    feeds = feed(net)
    module = to_torch(net, blobs=("c", "y", "sum"))
    x = torch.tensor(feeds["x"], requires_grad=True)
    outputs = module(x)
    values = net.forward(feeds)
    for blob, tensor in outputs.items():
        assert_close(tensor.detach().numpy(), values[blob], 1e-5, blob)
    outputs["last"].sum().backward()
    assert torch.equal(x, torch.tensor(feeds["x"]))


def test_no_gradient_where_the_prototxt_stops_it():
    text = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" propagate_down: false
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
"""
    module = to_torch(make(text))
    module(torch.ones(2, 3)).sum().backward()
    assert module.b.weight.grad is not None and module.a.weight.grad is None


def test_layers_that_neither_can_compute_are_refused_at_once():
    class NothingTorch(caffe_compat.Layer):
        """Nothing."""

    caffe_compat.layer()(NothingTorch)
    text = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "a" type: "NothingTorch" bottom: "x" top: "a" }
layer { name: "r" type: "ReLU" bottom: "a" top: "r" }
layer { name: "b" type: "NothingTorch" bottom: "r" top: "b" }
"""
    with pytest.raises(UnsupportedError) as error:
        to_torch(make(text))
    assert "layer 'a' (NothingTorch)" in str(error.value)
    assert "layer 'b' (NothingTorch)" in str(error.value)


def test_a_layer_without_a_torch_form_runs_in_numpy_and_says_so_once(caplog):
    class CubeTorch(caffe_compat.Layer):
        """factor x^3."""

        def blobs(self, x):
            return [caffe_compat.Blob("factor", (1,))]

        def forward(self, x, factor):
            return factor * x**3

        def backward(self, dy, x, factor):
            return 3 * factor * dy * x**2, np.sum(dy * x**3).reshape(1)

    caffe_compat.layer()(CubeTorch)
    text = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "a" type: "CubeTorch" bottom: "x" top: "a" }
layer { name: "b" type: "ReLU" bottom: "a" top: "b" }
"""
    net = make(text)
    net.arrays[1][0][:] = 2
    with caplog.at_level(logging.WARNING, "caffe_compat"):
        module = to_torch(net)
        x = torch.tensor([[1.0, -2, 3], [0, 1, 2]], requires_grad=True)
        module(x), module(x).sum().backward()
    (record,) = [r for r in caplog.records if "numpy" in r.message]
    assert record.message == (
        "layer 'a' (CubeTorch): has no ONNX form; it runs in numpy, on the CPU"
    )
    assert x.grad.tolist() == [[6, 0, 54], [0, 6, 24]]
    assert module.a.factor.grad.tolist() == [37]
    assert torch.equal(module.train()(x), module.eval()(x))


def test_to_torch_of_a_net_takes_no_options_of_load(files):
    net = caffe_compat.load(*files)
    with pytest.raises(CaffeCompatError, match="no weights_file"):
        to_torch(net, files[1])
    assert to_torch(*files, batch=4, phase="TRAIN").training


TRANSFORMED = """
layer { name: "data" type: "ImageData" top: "data" top: "label"
  transform_param { crop_size: 6 mean_value: 10 mean_value: 20 mean_value: 30 scale: 0.5 }
  image_data_param { source: "list.txt" batch_size: 4 new_height: 8 new_width: 9 } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "xavier" } } }
"""


def test_pictures_as_the_prototxt_transforms_them(tmp_path):
    (tmp_path / "net.prototxt").write_text(TRANSFORMED)
    shapes = {"data": (4, 3, 6, 6), "label": (4,)}
    module = to_torch(tmp_path / "net.prototxt", inputs=shapes)
    picture = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    x = module.preprocess(picture)
    want = 0.5 * (picture[1:7, 1:7, ::-1].astype(np.float32) - (10, 20, 30))
    assert_close(x.numpy(), want.transpose(2, 0, 1), 1e-6)
    image = Image.fromarray(picture)
    for same in (image, image.convert("RGBA")):
        assert torch.equal(module.preprocess(same), x)
    grey = image.convert("L")
    assert torch.equal(module.preprocess(grey), module.preprocess(np.asarray(grey)))
    batch = module.preprocess(Image.new("RGB", (30, 20)))[None]
    assert module(batch, torch.zeros(1))["c"].shape == (1, 2, 4, 4)
    assert torch.equal(copy.deepcopy(module).preprocess(picture), x)
    with pytest.raises(ShapeError, match="this is 6x6x3 of float32"):
        module.preprocess(np.zeros((6, 6, 3), np.float32))


def test_pictures_by_a_preset_or_not_at_all(files):
    picture = np.zeros((20, 30, 3), np.uint8)
    with pytest.raises(CaffeCompatError, match=r"no transform_param.*imagenet-bgr"):
        to_torch(*files).preprocess(picture)
    with pytest.raises(CaffeCompatError, match=r"preprocess is one of .*, not 'caffe'"):
        to_torch(*files, preprocess="caffe")
    x = to_torch(*files, preprocess="imagenet-bgr").preprocess(picture)
    assert x.shape == (3, 9, 8) and x[:, 0, 0].tolist() == [-104, -117, -123]


def test_a_blob_that_is_overwritten_under_another_name():
    """It is what Caffe shows after a run."""
    net = make("""
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 } } }
layer { name: "p" type: "Power" bottom: "x" top: "p" }
layer { name: "v" type: "Flatten" bottom: "p" top: "v" }
layer { name: "r" type: "ReLU" bottom: "v" top: "v" }
""")
    x = feed(net)["x"]
    outputs = to_torch(net, blobs=("p",))(torch.tensor(x))
    np.testing.assert_array_equal(outputs["p"].detach().numpy(), np.maximum(x, 0))


def test_dropout_that_draws_in_evaluation_too():
    """Bayesian SegNet's sample_weights_test, in the module and in the program exported from it."""
    drop = "dropout_param { dropout_ratio: 0.25 sample_weights_test: true }"
    module = to_torch(make(one_layer(f'type: "Dropout" {drop}', (4, 8, 30, 30)))).eval()
    ones = torch.ones(4, 8, 30, 30)
    for runs in (module, torch.export.export(module, (ones,)).module()):
        first, second = runs(ones), runs(ones)
        assert not torch.equal(first, second)
        assert (first == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
        assert first.max().item() == pytest.approx(1 / 0.75)
