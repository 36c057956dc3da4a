"""Passes over a lowered graph, one a file."""
