"""Images in, classes and detections out; on one machine, on Ray and for Triton."""
