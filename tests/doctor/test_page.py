"""The page: its tags, its text, and names that are code."""

from __future__ import annotations

from html.parser import HTMLParser

from caffe_compat.doctor import examine, variant
from caffe_compat.doctor.page import render

from ..cases import graph_of
from .nets import one, stack


class Page(HTMLParser):
    """The tags of a page, open and closed in order, and its text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.attributes = [], [], "", []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_page():
    evil = '<b onclick="x()">&'
    text = stack(11, 'type: "xavier"').replace('"stack"', f"'{evil}'").replace("conv3", "conv3<i>")
    diagnosis = examine(graph_of(text), compare=[variant("msra")], trials=1)
    html = render(diagnosis)
    page = Page(html)
    assert not {"script", "b", "i", "link", "img", "iframe"} & set(page.tags)
    assert not {"src", "href", "onclick"} & {name for name, _ in page.attributes}
    assert "url(" not in html
    assert "@import" not in html
    assert f"Signals of {evil}" in page.text
    assert page.tags.count("figure") == 2
    # Each chart has both runs, and theory; the legend has them once.
    assert page.tags.count("polyline") == 2 * 3 + 3
    assert page.tags.count("article") == len(diagnosis.findings)
    layers = len(diagnosis.runs[0].signals)
    assert page.tags.count("tr") == (2 + 12) + (1 + layers)
    assert "0.000" in page.text
    for finding in diagnosis.findings:
        assert finding.message in page.text
        for change in finding.remedy.changes:
            assert change.line in page.text
        for effect in finding.remedy.effects:
            assert str(effect) in page.text


def test_page_of_a_net_without_weights():
    diagnosis = examine(graph_of(one('layer { name: "r" type: "ReLU" bottom: "data" top: "r" }')))
    assert diagnosis.findings == ()
    assert "No findings" in render(diagnosis)
