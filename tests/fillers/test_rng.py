import ctypes
import ctypes.util
import json
from pathlib import Path

import numpy as np
import pytest

from caffe_compat.errors import ShapeError
from caffe_compat.fillers.rng import (
    GENERATIONS,
    BoostRng,
    FastRng,
    boost,
    fast,
    libm,
    make_rng,
    stream,
    ziggurat,
)
from caffe_compat.fillers.rng.tables import exponential_table, normal_table

GOLDEN = Path(__file__).parents[1] / "golden" / "rng"
RECORD = json.loads((GOLDEN / "rng.json").read_text())


def golden(name):
    return np.load(GOLDEN / RECORD[name]["file"])


@pytest.fixture(params=[stream.BLOCK, 4096, 62])
def blocks(request, monkeypatch):
    """Several sizes of block: the values must not depend on where blocks end."""
    monkeypatch.setattr(boost, "BLOCK", request.param)
    monkeypatch.setattr(stream, "cores", lambda: 4)
    return request.param


@pytest.mark.parametrize("generation", GENERATIONS)
def test_normal_and_position(generation, blocks):
    record = RECORD[generation]
    n = record["count"] if blocks > 100 else 20_000
    r = BoostRng(record["seed"], generation)
    assert np.array_equal(r.normal(record["mean"], record["std"], n), golden(generation)[:n])
    if n == record["count"]:
        assert r.next_u32() == record["next_u32"]


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("seed", ["0", "1701", "4294967295"])
def test_first_normals(generation, seed):
    r = BoostRng(int(seed), generation)
    want = RECORD[generation]["first"][seed]
    assert [f"{v:.9g}" for v in r.normal(0, 0.01, 3)] == want


def test_uniform_and_position(blocks):
    record = RECORD["uniform"]
    n = record["count"] if blocks > 100 else 20_000
    r = BoostRng(record["seed"])
    assert np.array_equal(r.uniform(record["min"], record["max"], n), golden("uniform")[:n])
    if n == record["count"]:
        assert r.next_u32() == record["next_u32"]


def test_bernoulli_and_position():
    record = RECORD["bernoulli"]
    r = BoostRng(record["seed"])
    assert np.array_equal(r.bernoulli(record["p"], record["count"]), golden("bernoulli") != 0)
    assert r.next_u32() == record["next_u32"]


def test_bernoulli_of_0_draws_nothing():
    r = BoostRng(3)
    assert not r.bernoulli(0, 10).any()
    assert r.next_u32() == BoostRng(3).next_u32()
    assert r.bernoulli(1, 1000).all()


@pytest.mark.parametrize("name", ["normal", "exponential"])
def test_tables_equal_boost_s(name):
    table = {"normal": normal_table, "exponential": exponential_table}[name]()
    with np.load(GOLDEN / "ziggurat_tables.npz") as want:
        assert np.array_equal(table.x, want[f"{name}_x"])
        assert np.array_equal(table.y, want[f"{name}_y"])


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


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_stream_goes_on_where_it_was(generation):
    r, raw = BoostRng(7, generation), np.random.RandomState(7)
    words = raw.randint(0, 2**32, 10_000, dtype=np.uint32)
    assert np.array_equal(r.u32(5), words[:5])
    up_to_1 = np.float32(2**-32) * np.nextafter(np.float32(1), np.float32(2))
    assert np.array_equal(r.uniform(0, 1, 3), words[5:8].astype(np.float32) * up_to_1)
    at = {"boost-1.55": 108}.get(generation)
    if at is None:
        at = 8 + sequential_normals(words[8:], 99, early=generation == "boost-1.56")[1]
    r.normal(0, 1, 99)  # odd: Box-Muller throws half a pair away
    assert r.next_u32() == words[at]
    r.normal(0, 1, 0)
    assert r.next_u32() == words[at + 1]


def test_uniform_passes_over_words_that_round_to_the_top():
    r = BoostRng(0)
    words = np.array([2**32 - 1, 5, 2**32 - 1, 2**31, 2**32 - 1, 1], np.uint32)
    r._spare = words
    # float32 is too coarse here: the greatest words land on the end itself, and are redrawn.
    assert r.uniform(1, 2, 2).tolist() == [1, 1.5 + 2**-23]
    assert r.next_u32() == 2**32 - 1


def test_uniform_takes_its_ends():
    assert (BoostRng(0).uniform(3, 3, 100) == 3).all()
    wide = BoostRng(0).uniform(-3e38, 3e38, 1000)
    assert np.isfinite(wide).all()
    assert wide.min() < -2.9e38 < 2.9e38 < wide.max()


def test_out_is_filled_in_place():
    room = np.empty(1000, np.float32)
    for r in (BoostRng(3), FastRng(3)):
        assert r.normal(0, 1, 1000, out=room) is room
        assert r.uniform(0, 1, 1000, out=room) is room
    with pytest.raises(ShapeError, match="999 contiguous"):
        BoostRng(3).normal(0, 1, 999, out=room)


@pytest.mark.skipif(not ctypes.util.find_library("m"), reason="no libm to compare with")
@pytest.mark.parametrize("name", ["logf", "expf", "cosf", "sinf"])
def test_libm_equals_glibc_s(name):
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    if not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
        pytest.skip("another libm")
    theirs = getattr(library, name)
    theirs.restype, theirs.argtypes = ctypes.c_float, [ctypes.c_float]
    unit = 1 - np.random.default_rng(3).random(20_000, np.float32)
    ours, x = {
        "logf": (libm.log, unit),
        "expf": (libm.exp, -12 * unit),
        "cosf": (lambda x: libm.cos_sin(x)[0], np.float32(2 * np.pi) * unit),
        "sinf": (lambda x: libm.cos_sin(x)[1], np.float32(2 * np.pi) * unit),
    }[name]
    assert np.array_equal(ours(x), np.array([theirs(float(v)) for v in x], np.float32))


@pytest.mark.parametrize("draw", ["normal", "uniform"])
def test_fast_does_not_depend_on_the_cores(draw, monkeypatch):
    monkeypatch.setattr(fast, "BLOCK", 10_000)
    drawn = []
    for cores in (1, 2, 7):
        monkeypatch.setattr(stream, "cores", lambda cores=cores: cores)
        r = FastRng(11)
        drawn.append([getattr(r, draw)(0, 2, n) for n in (12_345, 3, 30_001)])
    for other in drawn[1:]:
        assert all(map(np.array_equal, drawn[0], other))
    first, *rest = drawn[0]
    assert not np.array_equal(first[:3], rest[0])
    assert not np.array_equal(first[:10_000], rest[1][:10_000])
    assert not np.array_equal(first, getattr(FastRng(12), draw)(0, 2, 12_345))


def test_fast_has_the_distributions():
    r, n = FastRng(1), 1_000_000
    x = r.normal(3, 2, n).astype(np.float64)
    z = (x - 3) / 2
    assert abs(z.mean()) < 5 / n**0.5
    for power, moment in ((2, 1), (3, 0), (4, 3), (6, 15)):
        assert abs((z**power).mean() - moment) < 30 * power / n**0.5
    for edge, below in ((-2, 0.0227501), (-0.5, 0.3085375), (0, 0.5), (1, 0.8413447)):
        assert abs((z < edge).mean() - below) < 3e-3
    assert abs((z[:-1] * z[1:]).mean()) < 5e-3
    assert abs((z[: n // 2] * z[n // 2 :]).mean()) < 1e-2
    u = r.uniform(-1, 3, n)
    assert -1 <= u.min() < -0.999 < 2.999 < u.max() <= 3
    assert abs(np.histogram(u, 16, (-1, 3))[0] - n / 16).max() < 5 * (n / 16) ** 0.5
    assert abs(r.bernoulli(0.3, n).mean() - 0.3) < 3e-3
    assert r.u32(3).dtype == np.uint32
    assert 0 <= r.next_u32() < 2**32


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30])
@pytest.mark.parametrize("name", ["boost-1.64", "fast"])
def test_a_seed_has_32_bits(name, seed):
    with pytest.raises(ShapeError, match=str(seed)):
        make_rng(name, seed)


def test_streams_by_name():
    assert isinstance(make_rng("fast", 1), FastRng)
    assert make_rng("boost-1.56", np.uint32(1)).generation == "boost-1.56"
    with pytest.raises(ShapeError, match=r"'boost-1\.60'.*boost-1\.56"):
        make_rng("boost-1.60", 1)


@pytest.mark.parametrize("r", [BoostRng(1), FastRng(1)], ids=["boost", "fast"])
def test_what_caffe_checks(r):
    for std in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ShapeError, match=f"{std:g}"):
            r.normal(0, std, 3)
    for a, b in ((2, 1), (float("nan"), 1), (0, float("inf")), (float("-inf"), 0)):
        with pytest.raises(ShapeError, match=f"{a:g}"):
            r.uniform(a, b, 3)
    for p in (-0.1, 1.1, float("nan")):
        with pytest.raises(ShapeError, match=f"{p:g}"):
            r.bernoulli(p, 3)


def test_a_failure_in_one_block_reaches_the_caller(monkeypatch):
    monkeypatch.setattr(boost, "BLOCK", 1000)
    monkeypatch.setattr(stream, "cores", lambda: 4)

    def fail(self, words):
        raise MemoryError

    monkeypatch.setattr(ziggurat.Ziggurat, "decode", fail)
    with pytest.raises(MemoryError):
        BoostRng(1).normal(0, 1, 50_000)
