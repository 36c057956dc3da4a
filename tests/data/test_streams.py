"""The streams: Boost's shuffle, the C library's rand(), and going back to a place in them."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.data.streams import CRand, Engine


def uniform_int(words, highest):
    """boost::uniform_int from 0 to `highest`, word by word (uniform_int_distribution.hpp)."""
    width = (2**32 - 1) // (highest + 1)
    if (2**32 - 1) % (highest + 1) == highest:
        width += 1
    while True:
        result = next(words) // width
        if result <= highest:
            return result


@pytest.mark.parametrize("count", [0, 1, 2, 7, 64, 1000])
def test_a_shuffle_is_fisher_and_yates_from_the_end(count):
    words = iter(Engine(5).u32(4 * count + 4).tolist())
    expected = list(range(count))
    for i in range(count - 1, 0, -1):
        j = uniform_int(words, i)
        expected[i], expected[j] = expected[j], expected[i]
    engine = Engine(5)
    assert engine.shuffle(np.arange(count)).tolist() == expected
    assert engine.next_u32() == next(words)


def test_a_word_behind_the_last_bucket_is_drawn_again(monkeypatch):
    # From 0 to 4: five buckets of 2**32 // 5 leave one word over, the last.
    words = [2**32 - 1, 5, 2**32 - 1, 3 << 30, 1 << 31, 9]
    engine = Engine(1)
    monkeypatch.setattr(engine, "_spare", np.array(words, np.uint32))
    reader, expected = iter(words), list(range(5))
    for i in range(4, 0, -1):
        j = uniform_int(reader, i)
        expected[i], expected[j] = expected[j], expected[i]
    assert engine.shuffle(np.arange(5)).tolist() == expected
    assert [engine.next_u32()] == list(reader)


def test_the_c_librarys_numbers():
    rand = CRand()
    assert [rand.next() for _ in range(5)] == [
        1804289383,
        846930886,
        1681692777,
        1714636915,
        1957747793,
    ]
    for _ in range(9990):
        rand.next()
    assert [rand.next() for _ in range(3)] == [1858287797, 1778480021, 667920292]


def test_random_shuffle_swaps_from_the_start():
    rand, order = CRand(), list(range(20))
    for i in range(1, 20):
        j = rand.next() % (i + 1)
        order[i], order[j] = order[j], order[i]
    assert CRand().shuffle(np.arange(20)).tolist() == order


@pytest.mark.parametrize("before", [0, 3, 623, 1250])
def test_a_place_is_found_again(before):
    engine, rand = Engine(9), CRand()
    engine.u32(before)
    engine.peek(10)
    for _ in range(before):
        rand.next()
    places = engine.position(), rand.position()
    expected = engine.u32(30).tolist(), [rand.next() for _ in range(40)]
    other, another = Engine(1), CRand()
    other.seek(places[0])
    another.seek(places[1])
    assert (other.u32(30).tolist(), [another.next() for _ in range(40)]) == expected


def test_words_seen_ahead_stay_in_the_stream():
    engine = Engine(3)
    expected = Engine(3).u32(12).tolist()
    assert engine.peek(7).tolist() == expected[:7]
    assert engine.peek(9).tolist() == expected[:9]
    assert engine.u32(4).tolist() == expected[:4]
    assert engine.u32(8).tolist() == expected[4:]
