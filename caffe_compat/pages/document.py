"""The frame of a self-contained HTML page: no network, nothing beside it."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from importlib import resources
from typing import Any

from ..text import one_line, printable


def document(title: str, body: str, style: str, script: str = "", data: Any = None) -> str:
    """Return a page of HTML.

    The content security policy allows the page's own style and, by its digest, its own script;
    nothing else runs, whatever names a model has.

    Args:
        title: plain text.
        body: HTML.
        style: CSS.
        script: JavaScript, which finds `data` as JSON in the element `data`.
        data: plain values.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"'sha256-{digest}'" if script else "'none'"
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}"
    stored = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    tail = f'<script type="application/json" id="data">{stored}</script>' if script else ""
    tail += f"<script>{script}</script>" if script else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(one_line(title))}</title>
<style>{style}</style>
</head>
<body>
{printable(body)}
{tail}
</body>
</html>
"""


def asset(name: str) -> str:
    """Return a text file of this package: a style or a script."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
