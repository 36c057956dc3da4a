"""The SSD branch's changes of images and boxes (AnnotatedData), before Caffe's own transform."""
