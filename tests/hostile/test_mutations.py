"""Mutated files of each kind: a result or one error of the package; more of them with `-m slow`."""

from __future__ import annotations

import random

import pytest

from caffe_compat.errors import CaffeCompatError

from .kinds import KINDS
from .mutation import mutate


@pytest.mark.filterwarnings("ignore:.*:ResourceWarning")
@pytest.mark.parametrize("count", [60, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_file_is_a_result_or_one_error(tmp_path, kind, count):
    examples, rng = KINDS[kind].examples(), random.Random(count)
    path = tmp_path / KINDS[kind].name
    for _ in range(count):
        data = mutate(rng.choice(examples), examples, rng)
        path.write_bytes(data)
        try:
            KINDS[kind].read(path)
        except CaffeCompatError as error:
            assert str(error).isprintable()
        except Exception as error:
            pytest.fail(f"{type(error).__name__}: {error}, from {data[:2000]!r}")


@pytest.mark.parametrize("kind", KINDS)
def test_most_examples_are_sound(tmp_path, kind):
    """A reader that refused them all would pass the test above."""
    path, refused = tmp_path / KINDS[kind].name, 0
    for data in KINDS[kind].examples():
        path.write_bytes(data)
        try:
            KINDS[kind].read(path)
        except CaffeCompatError:
            refused += 1
    assert refused <= len(KINDS[kind].examples()) / 2
