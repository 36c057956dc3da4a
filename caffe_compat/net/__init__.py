"""Nets: graphs with shapes, their weights, and the numpy reference."""
