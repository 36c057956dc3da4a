"""The causes for which CUDA does not start, by drivers and libraries that are not there."""

from __future__ import annotations

import ctypes

import pytest

from caffe_compat.runtime import cuda

CUDA = "CUDAExecutionProvider"


class Driver:
    """NVIDIA's driver with a number of GPUs, or a fault."""

    def __init__(self, gpus=0, status=0):
        self.gpus, self.status = gpus, status

    def cuInit(self, flags):  # noqa: N802  # the driver's own names
        return self.status

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = self.gpus
        return 0

    def cuGetErrorString(self, status, text):  # noqa: N802
        text._obj.value = b"no CUDA-capable device is detected"


@pytest.fixture
def machine(monkeypatch):
    """A function that puts a driver in, and an error for the provider's library."""
    cuda._library_fault.cache_clear()

    def put(driver, fault=None):
        def load(path, mode=ctypes.DEFAULT_MODE):
            if path == cuda._DRIVER and driver:
                return driver
            raise OSError(fault if path != cuda._DRIVER else f"{path}: cannot open")

        monkeypatch.setattr(cuda, "_load", load)

    yield put
    cuda._library_fault.cache_clear()


def test_no_driver(machine):
    machine(None)
    fault = cuda.find_fault(CUDA, 0)
    assert fault == f"there is no NVIDIA driver here: {cuda._DRIVER}: cannot open"


def test_a_driver_without_gpus(machine):
    machine(Driver(status=100))
    fault = cuda.find_fault(CUDA, 0)
    assert fault == ("the NVIDIA driver does not start: no CUDA-capable device is detected (100)")


@pytest.mark.parametrize(("gpus", "indices"), [(1, "0 alone"), (4, "0 to 3")])
def test_a_wrong_index(machine, gpus, indices):
    machine(Driver(gpus))
    fault = cuda.find_fault(CUDA, 4)
    assert fault == f"there is no GPU 4 here; the indices are {indices}"


def test_no_libraries(machine):
    machine(Driver(1), "libcublasLt.so.13: cannot open shared object file")
    fault = cuda.find_fault(CUDA, 0)
    assert "does not load: libcublasLt.so.13: cannot open" in fault
    assert fault.endswith("pip install caffe_compat[gpu] has what it needs")
    fault = cuda.find_fault("TensorrtExecutionProvider", 0)
    assert fault.endswith("pip install 'tensorrt-cu13<11' has what it needs")


def test_all_is_there(machine):
    """The loader then stops at a symbol that onnxruntime itself provides later."""
    machine(Driver(1), "undefined symbol: Provider_GetHost")
    assert cuda.find_fault(CUDA, 0) is None
