"""Scripts of Python 2, and names that packages removed since."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.pycaffe.era import hints, meaning, numbers, scipy_misc
from caffe_compat.pycaffe.era import python2 as translator

from .test_install import caffe, python  # noqa: F401 - a fixture

SCRIPT = r"""
# -*- coding: utf-8 -*-
import os, sys
import cPickle as pickle
import helper
import Image, StringIO
from helper import half

class Old:
    def __div__(self, other):
        return "divided"

print "quotients", 7 / 2, -7 / 2, 7 / 2.0, half(9)
x = 7
x /= 2
print x, 1 / 3 * 3
import numpy as np
a = np.arange(6)
print (a / 4).tolist(), (a / 4.0).tolist()
a /= 2
print a.tolist(), Old() / 3
print round(2.5), round(-0.5), round(1.25, 1), int(round(3.5))
d = {"k": 1}
print d.has_key("k"), d.keys()[0], sorted(d.iteritems()), map(str, range(3)), xrange(3)[-1]
try:
    raise ValueError, "old"
except ValueError, error:
    print "caught", error
print >>sys.stderr, "to stderr"
exec "y = 511"
assert 0777 == y
print y, `y`, 3 <> 4, u"unicode", "", 10L
print len(a.tostring()), pickle.loads(pickle.dumps([1])), Image.new("L", (2, 3)).size
buffer = StringIO.StringIO()
print >>buffer, "kept"
open("text", "wb").write(buffer.getvalue())
open("bytes", "w").write(b"\xff\x00")
print open("text").read().strip(), open("bytes").read() == b"\xff\x00", int(np.array([3]))
"""

HELPER = """
print 'imported'
def half(x):
	return x / 2
if True:
        print "mixed tabs and spaces"
"""


def test_a_script_of_python_2_runs_with_its_old_meaning(python):  # noqa: F811
    out = caffe(
        python,
        "--py2",
        "script.py",
        script=SCRIPT,
        helper=HELPER,
    )
    assert out.split("\n")[:-1] == [
        "imported",
        "mixed tabs and spaces",
        "quotients 3 -4 3.5 4",
        "3 0",
        "[0, 0, 0, 0, 1, 1] [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]",
        "[0, 0, 1, 1, 2, 2] divided",
        "3.0 -1.0 1.3 4",
        "True k [('k', 1)] ['0', '1', '2'] 2",
        "caught old",
        "511 511 True unicode  10",
        "48 [1] (2, 3)",
        "kept True 3",
    ]


def test_the_file_is_left_alone_and_no_bytecode_written(python, tmp_path):  # noqa: F811
    caffe(python, "--py2", "script.py", script="import helper", helper=HELPER)
    assert (tmp_path / "helper.py").read_text() == HELPER
    assert not (tmp_path / "__pycache__").exists()


def test_future_division_is_kept():
    code = translator.compile_source(b"from __future__ import division\nx = 1 / 2\n", "a.py")
    values = {}
    exec(code, values)
    assert values["x"] == 0.5


def test_python_3_and_other_encodings_are_taken_too():
    for source in (b"def f(x, *, y: int = 3): return f'{x}'\n", "s = 'é'\n".encode("latin-1")):
        exec(translator.compile_source(source, "a.py"), {})
    with pytest.raises(SyntaxError):
        translator.compile_source(b"this is no python\n", "a.py")


@pytest.mark.parametrize(
    ("script", "hinted"),
    [
        ("print 'x'", True),
        ("for i in xrange(3): pass", True),
        ("{}.iteritems()", True),
        ("{}.keys()[0]", True),
        ("import cPickle", True),
        ("[0, 1][: 3 / 2]", True),
        ("range(4 / 2)", True),
        ("[0][1]", False),
        ("try:\n    pass\nexcept KeyError, e:\n    pass", True),
        ("x = 0777", True),
        ("undefined", False),
        ("import nothing_of_that_name", False),
        ("{}['k']", False),
        ("x = (", False),
    ],
)
def test_an_error_of_python_2_names_the_flag(python, script, hinted):  # noqa: F811
    done = python("-m", "caffe_compat.pycaffe", "script.py", script=script)
    assert done.returncode == 1
    assert (hints._FLAG in done.stderr) == hinted


def test_a_removed_method_is_named_with_its_successor():
    with pytest.raises(AttributeError) as caught:
        np.ones(1).tostring()
    assert "tobytes()" in hints.for_error(caught.value, python2=False)


def test_spawned_children_translate_too(python):  # noqa: F811
    out = caffe(
        python,
        "--py2",
        "script.py",
        script="""
            import multiprocessing
            from helper import work
            if __name__ == "__main__":
                pool = multiprocessing.get_context("spawn").Pool(1)
                print pool.map(work, [7])
                pool.close(); pool.join()
        """,
        helper="def work(x):\n    print 'working'\n    return x / 2\n",
    )
    assert "[3]" in out


# -- the meaning -----------------------------------------------------------------------------


def test_division_of_numpys_numbers():
    assert meaning.div(np.int64(7), 2) == 3
    assert meaning.div(np.float32(7), 2) == 3.5
    assert meaning.div(True, 2) == 0
    whole = np.array([7, 8])
    assert meaning.idiv(whole, 2) is whole
    assert meaning.idiv(whole, 2.0) is whole
    assert whole.tolist() == [1, 2]
    floats = np.array([7.0])
    assert meaning.idiv(floats, 2) is floats
    assert floats[0] == 3.5


def test_pickles_of_python_2_are_read():
    data = b"\x80\x02U\x02\xe9xq\x00."  # a str of Python 2 that is no UTF-8
    assert meaning._loads(data) == "\xe9x"


# -- removed names ---------------------------------------------------------------------------


def test_names_are_put_back(python):  # noqa: F811
    out = caffe(
        python,
        "-c",
        """
import time, collections, inspect, unittest
import numpy as np
from PIL import Image, ImageDraw, ImageFont
assert np.float is float and np.int is int and np.bool(1)
assert np.float_ is np.float64 and np.Inf == np.inf and np.NaN != np.NaN
assert np.product([2, 3]) == 6 and np.alltrue([1])
assert np.in1d([1, 2], [2]).tolist() == [False, True]
assert np.fromstring(b"\\x01\\x02", np.uint8).tolist() == [1, 2]
assert np.fromstring("1 2", sep=" ").tolist() == [1, 2]
assert np.cast[np.int32](2.5) == 2 and np.asscalar(np.ones(1)) == 1
Image.new("L", (4, 4)).resize((2, 2), Image.ANTIALIAS)
assert ImageDraw.Draw(Image.new("L", (4, 4))).textsize("a")[0] > 0
assert ImageFont.load_default().getsize("a")[0] > 0
assert time.clock() >= 0 and collections.Iterable
assert inspect.getargspec(inspect.getargspec)[0] == ["function"]
assert unittest.TestCase.assertEquals and unittest.TestCase.assertItemsEqual
import yaml
assert yaml.load("[1]") == [1]
import scipy.misc
from scipy.misc import imread, imresize
assert scipy.misc.imresize(np.zeros((4, 4)), 0.5).shape == (2, 2)
print("all there")
""",
    )
    assert out == "all there\n"


def test_scipy_misc_reads_resizes_and_writes(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    name = str(tmp_path / "a.png")
    scipy_misc.imsave(name, pixels)
    assert np.array_equal(scipy_misc.imread(name), pixels)
    assert scipy_misc.imread(name, flatten=True).dtype == np.float32
    assert scipy_misc.imread(name, mode="L").shape == (6, 8)
    assert scipy_misc.imresize(pixels, (3, 4)).shape == (3, 4, 3)
    assert scipy_misc.imresize(pixels, 0.5).shape == (3, 4, 3)
    assert scipy_misc.imresize(pixels, 50).shape == (3, 4, 3)
    assert scipy_misc.imresize(pixels / 2.0, (6, 8), "nearest").max() == 255  # scaled to bytes
    assert scipy_misc.imrotate(pixels, 90).shape == pixels.shape
    planes = scipy_misc.toimage(pixels.transpose(2, 0, 1))
    assert np.array_equal(np.array(planes), pixels)


def test_restoring_twice_changes_nothing(monkeypatch):
    import types

    module = types.ModuleType("numpy")
    vars(module).update(vars(np))
    numbers.restore(module)
    first = dict(vars(module))
    numbers.add(module, float=None)
    assert first["float"] is module.float is float


def test_unlike_values_stand_in_python_2s_order():
    assert (meaning.lt(None, -1), meaning.ge(None, 0), meaning.gt("a", 10**9)) == (
        True,
        False,
        True,
    )
    assert meaning.le(1, 1)
    assert meaning.gt(len, 0)
    np.testing.assert_array_equal(meaning.lt(np.arange(3), 1), [True, False, False])
    values = {}
    exec(translator.compile_source(b"print 1\nx = None > 0\ny = 0 < 1 < 2\n", "a.py"), values)
    assert (values["x"], values["y"]) == (False, True)


def test_lmdb_takes_keys_of_text(python):  # noqa: F811
    pytest.importorskip("lmdb")
    out = caffe(
        python,
        "--py2",
        "script.py",
        script="""
            import lmdb
            env = lmdb.open('db', map_size=int(1e6))
            with env.begin(write=True) as txn:
                txn.put('{:0>5d}'.format(7), 'value')
            with env.begin() as txn:
                cursor = txn.cursor()
                print len(list(cursor)), txn.get('00007') == b'value', cursor.set_key('00007')
        """,
    )
    assert out == "1 True True\n"


def test_comparisons_sort_lists_and_numpys_sort_is_left_alone():
    source = b"""
import numpy as np
a = [3, 1, 2]
a.sort(lambda x, y: cmp(y, x))
b = sorted([3, 1, 2], cmp=lambda x, y: y - x)
c = np.sort(np.array([3, 1, 2]))
d = sorted([3, 1, 2], None, lambda x: -x, True)
e = [3, 1]
e.sort(key=lambda x: x)
print cmp(1, 2)
"""
    values = {}
    exec(translator.compile_source(source, "a.py"), values)
    assert (values["a"], values["b"], values["d"]) == ([3, 2, 1], [3, 2, 1], [1, 2, 3])
    assert values["c"].tolist() == [1, 2, 3]
    assert values["e"] == [1, 3]


def test_numpy_takes_floats_as_sizes_and_ragged_rows(python):  # noqa: F811
    out = caffe(
        python,
        "--py2",
        "script.py",
        script="""
            import numpy as np, numpy.random as npr
            n = np.round(2.4)
            print np.zeros((n, 3)).shape, len(npr.choice(5, size=n, replace=False))
            print np.arange(5)[n:].tolist(), np.array([[1], [2, 3]]).dtype, np.array([1.5]).dtype
            try:
                np.zeros(2.5)
            except TypeError:
                print "refused"
        """,
    )
    assert out.splitlines() == ["(2, 3) 2", "[2, 3, 4] object float64", "refused"]
