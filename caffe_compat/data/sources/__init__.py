"""The sources: one module for each data layer of Caffe's."""
