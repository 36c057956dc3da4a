"""What the SSD branch's AnnotatedData does to images and boxes before Caffe's own transform."""
