"""The tests of pages are left out where fast-sugiyama has no build (Python 3.10)."""

from __future__ import annotations

import importlib.util

collect_ignore = (
    []
    if importlib.util.find_spec("fast_sugiyama")
    else ["test_browser.py", "test_layout.py", "test_net_page.py"]
)
