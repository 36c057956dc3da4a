"""Reading ahead: in order whoever is slow, and an error where it belongs."""

from __future__ import annotations

import functools
import random
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from caffe_compat.caffe_pb2 import LayerParameter
from caffe_compat.data.prefetch import Prefetcher
from caffe_compat.data.source import Access, Plan, Source
from caffe_compat.errors import ParseError


class Slow(Source):
    """Batches of a running number, filled by threads that sleep for different times."""

    def __init__(self, error=None):
        super().__init__(LayerParameter(name="slow", type="Data"), Access())
        self.number, self.error, self.closed = 0, error, False

    def shapes(self):
        return [(5,)]

    def plan(self, run):
        if self.number == self.error:
            raise ParseError("no such batch")
        loaded = run(
            lambda i: (time.sleep(random.random() / 500), 10 * self.number + i)[1], range(5)
        )
        out = np.zeros(5)
        self.number += 1
        return Plan([out], [functools.partial(self.fill, out, i, loaded[i]) for i in range(5)])

    def fill(self, out, i, value):
        time.sleep(random.random() / 500)
        assert not self.closed
        if value == 23 and self.error == "fill":
            raise ParseError("bad item")
        out[i] = value

    def state(self):
        return {"number": self.number}

    def restore(self, state):
        self.number = state["number"]

    def close(self):
        self.closed = True


@pytest.fixture
def opened():
    """Makes prefetchers, and closes them."""
    with ThreadPoolExecutor(3) as pool:
        made = []

        def make(*arguments):
            made.append(Prefetcher(Slow(*arguments), pool, 3, 2))
            return made[-1]

        yield make
        for each in made:
            each.close()


def test_batches_come_in_order(opened):
    reader = opened()
    for number in range(20):
        assert reader.state == {"number": number}
        assert reader.next()[0].tolist() == [10 * number + i for i in range(5)]


def test_what_was_read_ahead_is_dropped_when_the_place_changes(opened):
    reader = opened()
    for number in (0, 7, 3):
        reader.restore({"number": number})
        assert reader.next()[0][0] == 10 * number
        assert reader.next()[0][0] == 10 * number + 10


@pytest.mark.parametrize("error, says", [(2, "no such batch"), ("fill", "bad item")])
def test_an_error_comes_behind_the_good_batches_and_stays(opened, error, says):
    reader = opened(error)
    assert [reader.next()[0][0] for _ in range(2)] == [0, 10]
    for _ in range(2):
        with pytest.raises(ParseError, match=rf"^layer 'slow' \(Data\): {says}$"):
            reader.next()
    reader.restore({"number": 4})
    assert reader.next()[0][0] == 40
