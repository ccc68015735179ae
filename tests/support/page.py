"""A page as the build makes one: small files, and the manifest that lists them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = b"export const text = 'a page of the tests';\n" * 200
"""A file that gzip makes smaller."""

PICTURE = bytes(range(256))
"""A file that it makes larger."""

FILES: dict[str, tuple[str, bytes]] = {
    "index.html": (
        "text/html; charset=utf-8",
        b"<!doctype html><title>p2p-copy</title>" + b"<p>Tests.</p>" * 50,
    ),
    "page.js": ("text/javascript; charset=utf-8", SCRIPT),
    "picture.png": ("image/png", PICTURE),
    "p2p-copy.html": (
        "text/html; charset=utf-8",
        b"<!doctype html><title>p2p-copy</title>" + b"<b>x</b>" * 99,
    ),
}


def make_page(folder: Path) -> Path:
    """Write these files and their manifest into a new folder; return it."""
    folder.mkdir()
    listed: dict[str, dict[str, str | bool]] = {}
    for name, (kind, data) in FILES.items():
        (folder / name).write_bytes(data)
        listed[name] = {"type": kind, "sha256": hashlib.sha256(data).hexdigest()}
    listed["p2p-copy.html"]["download"] = True
    (folder / "manifest.json").write_text(json.dumps({"files": listed}))
    return folder
