"""The ziggurat, in blocks and on several cores, beside Boost's algorithm word by word."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.fillers.rng import BoostRng, boost, libm, stream, ziggurat
from caffe_compat.fillers.rng.tables import exponential_table, normal_table


def sequential_normals(words, n, *, early):
    """Boost's algorithm as its documentation states it, a word at a time: values and position."""
    f, at = np.float32, 0
    normal, exponential = normal_table(), exponential_table()

    def word():
        nonlocal at
        at += 1
        return int(words[at - 1])

    def uniform_01():
        while (u := f(word()) * f(2**-32)) >= 1:
            pass
        return u

    def pair():
        u = word()
        return f(u >> 8) * f(2**-24), u & 255

    def one(function, x):
        return function(np.array([x], f))[0]

    def unit_exponential():
        if early:
            return -one(libm.log, 1 - uniform_01())
        x, y, shift = exponential.x, exponential.y, f(0)
        while True:
            across, i = pair()
            value = across * f(x[i])
            if value < f(x[i + 1]):
                return shift + value
            if i == 0:
                shift += f(x[1])
                continue
            u = uniform_01()
            height = f(y[i]) + u * f(y[i + 1] - y[i])
            chord = f(x[i] - x[i + 1]) * u - (f(x[i]) - value)
            tangent = height - (f(y[i + 1]) + (f(x[i + 1]) - value) * f(y[i + 1]))
            if chord < 0 and (tangent < 0 or height < one(libm.exp, -value)):
                return shift + value

    def tail():
        first = f(normal.x[1])
        while True:
            x = unit_exponential() / first
            y = unit_exponential()
            if 2 * y > x * x:
                return x + first

    def unit_normal():
        x, y = normal.x, normal.y
        while True:
            across, bucket = pair()
            i, sign = bucket >> 1, f((bucket & 1) * 2 - 1)
            value = across * f(x[i])
            if float(value) < x[i + 1]:
                return value * sign
            if i == 0:
                return tail() * sign
            u = uniform_01()
            height = f(y[i]) + u * f(y[i + 1] - y[i])
            under = height < one(libm.exp, -(value * value / f(2)))
            if not early:
                chord = f(x[i] - x[i + 1]) * u - (f(x[i]) - value)
                tangent = height - (f(y[i]) + (f(x[i]) - value) * f(y[i]) * f(x[i]))
                upper, lower = (chord, tangent) if x[i] >= 1 else (tangent, chord)
                under = upper < 0 and (lower < 0 or under)
            if under:
                return value * sign

    return np.array([unit_normal() for _ in range(n)], f), at


def hostile_words(size):
    """Words with far more wedges, tails, and draws that round up to 1, than a seed gives."""
    g = np.random.default_rng(5)
    words = g.integers(0, 2**32, size, dtype=np.uint32)
    kind = g.random(size)
    words[kind < 0.3] |= np.uint32(0xF0000000)
    words[kind < 0.15] &= np.uint32(0xFFFFFF01)
    words[kind > 0.97] = np.uint32(0xFFFFFFFF)
    return words


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("cores", [1, 4])
def test_normals_of_hostile_words_equal_the_sequential_algorithm(early, cores, monkeypatch):
    monkeypatch.setattr(boost, "BLOCK", 300)
    monkeypatch.setattr(stream, "cores", lambda: cores)
    words = hostile_words(20_000)
    r = BoostRng(1, "boost-1.56" if early else "boost-1.64")
    r._spare = words
    at = 0
    for n in (1, 2, 700, 1, 4000):
        want, read = sequential_normals(words[at:], n, early=early)
        assert np.array_equal(r.normal(0, 1, n), want)
        at += read
    assert r.next_u32() == words[at]


def test_a_failure_in_one_block_reaches_the_caller(monkeypatch):
    monkeypatch.setattr(boost, "BLOCK", 1000)
    monkeypatch.setattr(stream, "cores", lambda: 4)

    def fail(self, words):
        raise MemoryError

    monkeypatch.setattr(ziggurat.Ziggurat, "decode", fail)
    with pytest.raises(MemoryError):
        BoostRng(1).normal(0, 1, 50_000)
