"""The frame of a page: nothing but its own style and script is allowed, and text stays text."""

from __future__ import annotations

import base64
import hashlib
import json
import re

from caffe_compat.pages.document import asset, document

HOSTILE = "</script><script>alert('x')</script>\"'<!--"


def test_the_policy_allows_this_script_alone():
    page = document("t", "<p>b</p>", "p {}", "run();", {"name": HOSTILE})
    (digest,) = re.findall(r"script-src 'sha256-([^']+)'", page)
    script = re.search(r"<script>(.*?)</script>", page, re.S).group(1)
    assert digest == base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in page


def test_data_stays_data():
    page = document("t", "", "", "run();", {"name": HOSTILE})
    stored = re.search(r'id="data">(.*?)</script>', page, re.S).group(1)
    assert "<" not in stored
    assert json.loads(stored) == {"name": HOSTILE}


def test_titles_are_escaped():
    assert "<title>&lt;b&gt;</title>" in document("<b>", "", "")
    assert "script-src 'none'" in document("t", "", "")


def test_assets_are_there():
    assert "--ink" in asset("page.css")
    assert "use strict" in asset("net.js")


def test_no_control_character_reaches_the_page():
    page = document("a\x1b[31m\nb", "<p>\x07c</p>\n", "")
    assert "<title>a\\u001b[31m\\nb</title>" in page
    assert "<p>\\u0007c</p>\n" in page
