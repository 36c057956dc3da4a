"""Prototxt: text and messages, eras, phases, splits."""
