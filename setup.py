"""The mapping of converters/ into the package; every other fact is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["caffe_compat", "caffe_compat.*"]),
        "caffe_compat.converters",
    ],
    package_dir={"caffe_compat.converters": "converters"},
)
