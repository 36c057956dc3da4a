"""Training: a solver's prototxt to trained weights, as Caffe computes them."""
