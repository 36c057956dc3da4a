"""Mutated files of every kind that the package reads: a result or one error, and nothing else."""
