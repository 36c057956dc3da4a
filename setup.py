"""The packages of caffe_compat and its command; every tool's settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="caffe_compat",
    version="0.1.0",
    description="Caffe models without Caffe: prototxt and caffemodel to numpy and ONNX",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="BSD-2-Clause",
    python_requires=">=3.10",
    packages=[
        *find_packages(include=["caffe_compat", "caffe_compat.*"]),
        "caffe_compat.converters",
    ],
    package_dir={"caffe_compat.converters": "converters"},
    package_data={"caffe_compat": ["py.typed", "*.pyi"]},
    install_requires=[
        "numpy>=1.26",
        "protobuf>=4.25.1",
        "onnx>=1.18",
        "typer>=0.26",
        "rich>=13.8",
        "h5py>=3.10",
        "pillow>=10.1",
    ],
    # onnxruntime and onnxruntime-gpu put their files in one place, and pip cannot let an extra
    # take a requirement away: so each is an extra, and neither a requirement.
    extras_require={
        "cpu": ["onnxruntime>=1.23"],
        "gpu": ["onnxruntime-gpu>=1.23"],
        "ray": ["ray[data]>=2.9"],
        "test": ["pytest>=8", "hypothesis>=6"],
    },
    entry_points={"console_scripts": ["caffe-compat = caffe_compat.converters.cli:main"]},
)
