"""`python -m caffe_compat.converters`: the command `caffe-compat`."""

from .cli import main

main()
