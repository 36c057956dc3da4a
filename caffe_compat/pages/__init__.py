"""Self-contained HTML pages: their frame, their style, and the page of a net."""
