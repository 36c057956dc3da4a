"""The page in a browser: it opens without an error, and its search finds a layer."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

import caffe_compat
from caffe_compat.pages.net_page import net_page

from ..cases import GOLDEN

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--enable-logging=stderr", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "net.html"
    net = GOLDEN / "nets" / "yihui_he_resnet_imagenet_caffe_resnet_152_resnet_152/net.prototxt"
    path.write_text(net_page(caffe_compat.read(net)), encoding="utf-8")
    return path


def dump(page, words, tmp_path):
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}", "--dump-dom", f"file://{page}#{words}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr, done.stderr[-2000:]
    return done.stdout


def test_it_opens_without_an_error(page, tmp_path):
    dom = dump(page, "", tmp_path)
    assert "Select a layer." in dom


def test_searching_finds_a_layer(page, tmp_path):
    dom = dump(page, "res5c_branch2b", tmp_path)
    details = re.search(r'<aside id="details".*?</aside>', dom, re.S).group(0)
    assert "<h2>res5c_branch2b</h2>" in details
    assert "num_output: 512" in details
    assert re.search(r'class="box chosen"', dom)
    assert re.search(r">\d of \d{3}</output>", dom)
