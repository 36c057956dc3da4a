"""The command line of caffe_compat; nothing in the package imports it."""
