"""A browser with WebGPU, if there are Chromium, playwright and onnxruntime-web.

CAFFE_COMPAT_ORT_WEB names the folder of onnxruntime-web's files, its dist/. .ci/run installs all.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

ORT = os.environ.get("CAFFE_COMPAT_ORT_WEB")
CHROMIUM = shutil.which("chromium")

if not (ORT and CHROMIUM and importlib.util.find_spec("playwright")):
    collect_ignore_glob = ["test_*.py"]

# WebGPU on SwiftShader, a GPU in software.
FLAGS = [
    "--enable-unsafe-webgpu",
    "--enable-features=Vulkan",
    "--use-webgpu-adapter=swiftshader",
    "--enable-unsafe-swiftshader",
    "--no-sandbox",
]


@pytest.fixture(scope="session")
def ort_web():
    """The folder of onnxruntime-web's files."""
    return Path(str(ORT))


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()
