"""Boost's ziggurat: from a stream of 32-bit words to unit normals, a block at a time.

One word decides most normals: its low byte picks a sign and one of 128 layers, its upper 24 bits a
position across the layer. About one word in fifty is *slow*: it lies outside the layer's safe part
and reads more words, to decide on its wedge or to draw from the tail. Whether a word begins a
normal therefore depends on every word before, which looks sequential. But the effect of a slow
word, and the end of its reading, depend on itself and its successors only. So a block finds all its
slow words at once, then follows the short chains in which one reads over the next
(`Block.settle`, the only step that waits for the previous block), and writes the rest.

float32 throughout, in Boost's order of operations.

Source: boost/random/normal_distribution.hpp and exponential_distribution.hpp, releases 1.56 and
1.64; Marsaglia and Tsang, "The ziggurat method for generating random variables", 2000.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from . import libm
from .stream import PIECE, TO_UNIT, Flags, Floats, Words
from .tables import Table, exponential_table, normal_table

Index = npt.NDArray[np.intp]

LOOKAHEAD = 256  # words that a slow one may read; a tail needs more with probability below 1e-60
_TO_UNIT_24 = np.float32(2.0**-24)


def _across(words: Words) -> Floats:
    """Return the position in [0, 1) in the upper 24 bits; exact."""
    return (words >> 8).view(np.int32).astype(np.float32) * _TO_UNIT_24


def _uniform_01(words: Words, at: Index) -> tuple[Floats, Index]:
    """Read Boost's uniform_01<float> at each of `at`; return the values and the ends of reading."""
    value = words.take(at).astype(np.float32) * TO_UNIT
    end = at + 1
    while (again := np.flatnonzero(value >= 1)).size:  # rounded up to 1: Boost draws another
        value[again] = words[end[again]].astype(np.float32) * TO_UNIT
        end[again] += 1
    return value, end


class Ziggurat:
    """The unit normals of Boost 1.64 and later, or with `early` those of 1.56 to 1.63.

    The early ones decide on a wedge by the density alone, and draw a tail's exponentials by
    logarithm.
    """

    def __init__(self, *, early: bool = False):
        self._early = early
        self._normal, self._exponential = normal_table(), exponential_table()
        layer = np.arange(256) >> 1
        self._sign = np.tile(np.array([-1, 1], np.float32), 128)  # by the lowest bit
        self._slope = self._sign * self._normal.edge[layer] * _TO_UNIT_24
        self._limit = self._limits(layer)

    def _limits(self, layer: Index) -> Words:
        """Return the first slow word of each low byte, by bisection on Boost's comparison."""
        low, high = np.zeros(256, np.int64), np.full(256, 1 << 24, np.int64)
        while (unsure := low < high).any():
            middle = (low + high) // 2
            x = middle.astype(np.float32) * _TO_UNIT_24 * self._normal.edge[layer]
            slow = x.astype(np.float64) >= self._normal.x[layer + 1]
            high = np.where(unsure & slow, middle, high)
            low = np.where(unsure & ~slow, middle + 1, low)
        return (low << 8).astype(np.uint32)  # every layer has slow words, so low < 2**24

    def decode(self, words: Words) -> Block:
        """Find the effect of every slow word; `words` are a block's own and `LOOKAHEAD` more."""
        own = words.size - LOOKAHEAD
        index, limit = np.empty(PIECE, np.intp), np.empty(PIECE, np.uint32)
        pieces = []
        for start in range(0, own, PIECE):
            piece = words[start : min(start + PIECE, own)]
            i, t = index[: piece.size], limit[: piece.size]
            np.bitwise_and(piece, 255, out=i, casting="unsafe")
            self._limit.take(i, out=t, mode="wrap")  # wrap: faster than clip, and no copy of out
            pieces.append(np.flatnonzero(piece >= t) + start)
        starts = np.concatenate(pieces)
        slow = words.take(starts)
        layer = (slow & 255).astype(np.intp) >> 1
        ends, accepted = self._wedge(words, starts, layer, _across(slow))
        tail = np.flatnonzero(layer == 0)
        ends[tail], tails = self._tail(words, starts[tail])
        accepted[tail] = True
        tails *= self._sign.take(slow[tail] & 255)
        return Block(self._slope, words, starts, ends, accepted, tail, tails)

    def _wedge(
        self, words: Words, starts: Index, layer: Index, across: Floats
    ) -> tuple[Index, Flags]:
        """Return the end of each wedge's reading, and whether the point is under the density.

        Boost 1.64 compares with the chord and the tangent first, which in float32 does not always
        decide as the density would. The tangent is above the density where it is concave (x < 1).
        """
        table = self._normal
        u, ends = _uniform_01(words, starts + 1)
        edge, low = table.edge.take(layer), table.low.take(layer)
        x: Floats = across * edge
        y = low + u * table.height.take(layer)
        if self._early:
            return ends, y < libm.exp(-(x * x / np.float32(2)))
        chord = table.width.take(layer) * u - (edge - x) < 0
        tangent = y - (low + (edge - x) * low * edge) < 0
        accepted = chord & tangent
        unsure = np.flatnonzero(np.where((table.x < 1).take(layer), tangent, chord) & ~accepted)
        x = x[unsure]
        accepted[unsure] = y[unsure] < libm.exp(-(x * x / np.float32(2)))
        return ends, accepted

    def _tail(self, words: Words, starts: Index) -> tuple[Index, Floats]:
        """Return the end of each tail's reading, and its distance from 0.

        A tail tries pairs of exponentials, x and y, until 2 y > x². All tails of the block advance
        together, an attempt at one exponential each time.
        """
        first = self._normal.edge[1]
        ends, value = np.empty_like(starts), np.empty(starts.size, np.float32)
        todo, at = np.arange(starts.size), starts + 1
        x = np.full(starts.size, np.nan, np.float32)  # NaN: x is drawn next
        shift = np.zeros(starts.size, np.float32)
        while todo.size:
            variate, got, at = self._unit_exponential(words, at, shift)
            is_y = ~np.isnan(x)
            done = got & is_y & (2 * variate > x * x)
            ends[todo[done]] = at[done]
            value[todo[done]] = x[done] + first
            x = np.where(got, np.where(is_y, np.float32(np.nan), variate / first), x)
            left = ~done
            todo, at, x, shift = todo[left], at[left], x[left], shift[left]
        return ends, value

    def _unit_exponential(
        self, words: Words, at: Index, shift: Floats
    ) -> tuple[Floats, Flags, Index]:
        """Attempt an exponential variate at each of `at`.

        Returns:
            The variates, whether each attempt succeeded, and the ends of reading. An attempt past
            the last layer changes `shift`, in place: the tail of an exponential is one itself.
        """
        if self._early:
            u, at = _uniform_01(words, at)
            return -libm.log(1 - u), np.ones(at.size, bool), at
        table, word, at = self._exponential, words.take(at), at + 1
        layer = (word & 255).astype(np.intp)
        x = _across(word) * table.edge.take(layer)
        got = x < table.edge.take(layer + 1)
        if not got.all():
            past, wedge = ~got & (layer == 0), np.flatnonzero(~got & (layer > 0))
            u, at[wedge] = _uniform_01(words, at[wedge])
            got[wedge] = _under_exponential(table, layer[wedge], x[wedge], u)
            x += shift
            shift[past] += table.edge[1]
        else:
            x += shift
        shift[got] = 0
        return x, got, at


def _under_exponential(table: Table, layer: Index, x: Floats, u: Floats) -> Flags:
    right = layer + 1
    y = table.low[layer] + u * table.height[layer]
    chord = table.width[layer] * u - (table.edge[layer] - x) < 0
    tangent = y - (table.low[right] + (table.edge[right] - x) * table.low[right]) < 0
    under: Flags = chord & (tangent | (y < libm.exp(-x)))
    return under


class Block:
    """A block of words with its slow ones known: `settle` it, then `write` its normals."""

    def __init__(
        self,
        slope: Floats,
        words: Words,
        starts: Index,
        ends: Index,
        accepted: Flags,
        tail: Index,
        tails: Floats,
    ):
        self.words = words
        self._slope, self._starts, self._ends, self._accepted = slope, starts, ends, accepted
        self._tail, self._tails = tail, tails
        self._tail_at = np.empty(0, np.intp)  # their indices among the normals
        self._keep = np.ones(words.size, bool)  # whether a normal begins at the word

    def _chain(self, entry: int) -> Index:
        """Return the slow words, as indices in `starts`, that begin a normal."""
        starts, ends = self._starts, self._ends
        first = int(np.searchsorted(starts, entry))
        begins = np.zeros(starts.size + 1, bool)  # one more, for the words behind the block
        # A slow word begins a normal, whatever came before, if no slow one before it reads so far.
        begins[first] = True
        reach = np.maximum.accumulate(ends[first:])
        np.greater_equal(starts[first + 1 :], reach[:-1], out=begins[first + 1 : -1])
        chain = np.flatnonzero(begins[:-1] & ~begins[1:])
        while chain.size:
            chain = np.searchsorted(starts, ends[chain])  # the next that it does not read
            chain = chain[~begins[chain] & (chain < starts.size)]
            begins[chain] = True
        return np.flatnonzero(begins[:-1])

    def settle(self, entry: int) -> tuple[int, int]:
        """Follow the reading from the word `entry`, the end of the previous block's.

        Returns:
            The number of normals that begin in this block, and the next block's `entry`.
        """
        own, keep = self.words.size - LOOKAHEAD, self._keep
        chain = self._chain(entry)
        starts, ends = self._starts[chain], self._ends[chain]
        accepted = self._accepted[chain]
        leave = max(own, entry, *ends[-1:].tolist())
        keep[:entry] = False
        keep[starts[~accepted]] = False
        keep[starts + 1] = False
        longer = np.flatnonzero(ends > starts + 2)
        word, end = starts[longer] + 2, ends[longer]
        while word.size:
            keep[word] = False
            word += 1
            word, end = word[word < end], end[word < end]
        # A tail's index among the normals: without the words before it that gave none.
        lost = ends - starts - accepted
        forward = starts - entry - (np.cumsum(lost) - lost)
        place = np.searchsorted(chain, self._tail)
        real = np.append(chain, -1)[place] == self._tail
        self._tails, self._tail_at = self._tails[real], forward[place[real]]
        return int(np.count_nonzero(keep[:own])), leave - own

    def end_of(self, count: int) -> int:
        """Return the word behind the last that the first `count` (> 0) normals read."""
        word = int(np.flatnonzero(self._keep)[count - 1])
        slow = int(np.searchsorted(self._starts, word))
        if slow < self._starts.size and self._starts[slow] == word:
            return int(self._ends[slow])
        return word + 1

    def write(self, mean: np.float32, std: np.float32, out: Floats) -> None:
        """Fill `out` with the block's first normals, scaled: x * std + mean."""
        own, done = self.words.size - LOOKAHEAD, 0
        index, slope = np.empty(PIECE, np.intp), np.empty(PIECE, np.float32)
        for start in range(0, own, PIECE):
            stop = min(start + PIECE, own)
            words = self.words[start:stop][self._keep[start:stop]][: out.size - done]
            i, f, x = index[: words.size], slope[: words.size], out[done : done + words.size]
            np.bitwise_and(words, 255, out=i, casting="unsafe")
            self._slope.take(i, out=f, mode="wrap")
            np.right_shift(words, 8, out=words)
            np.copyto(x, words.view(np.int32), casting="unsafe")  # 24 bits; signed is faster
            np.multiply(x, f, out=x)
            np.multiply(x, std, out=x)
            np.add(x, mean, out=x)
            done += words.size
        inside = self._tail_at < out.size
        out[self._tail_at[inside]] = self._tails[inside] * std + mean
