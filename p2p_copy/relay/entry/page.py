"""Answers a browser with the files of the page, which are read once and then stay in memory.

Rules:
1. The table is fixed: what a request asks for is looked up as it stands, never joined to a path. Nothing is read,
   compressed or hashed for a request, and all answers share the bytes of the files.
2. GET and HEAD only. The query is ignored; everything else of the target must match exactly.
3. Each answer ends its connection, as every other answer of a relay does. The page is a few files, and browsers
   revalidate them: a file that has not changed costs 304 and no body. So files of two versions never meet.
4. Whoever changes a file must change the manifest as well: a file whose SHA-256 is not the one there is not served.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from p2p_copy.errors import CannotListen
from p2p_copy.relay import limits
from p2p_copy.relay.file_thread import read_regular
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from os import PathLike

    import h11

MANIFEST: Final = "manifest.json"
"""The file that lists the others: their names, media types and SHA-256."""

_INDEX: Final = "index.html"
"""The file at `/`."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", re.ASCII)

_TYPE: Final = re.compile(r"[a-z]+/[a-z0-9.+-]+(?:; charset=utf-8)?", re.ASCII)

_POLICY: Final = {
    "default-src": "'none'",  # what is not named below is forbidden
    "script-src": "'self' 'wasm-unsafe-eval'",  # files of the relay; and WebAssembly, which hashes
    "style-src": "'self'",
    "connect-src": "'self'",  # the relay's WebSocket, and nothing else
    "worker-src": "'self'",
    "img-src": "'self' data: blob:",  # the QR code of a link
    "manifest-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",  # no other page can lay itself over this one
}
"""Content Security Policy, level 3. `data:` and `blob:` are pictures that the page makes itself."""

_HEADERS: Final = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # keep it, and ask each time whether it is still right
    "Vary": "Accept-Encoding",
    "Connection": "close",
}
"""What every answer about a file says."""

_WEIGHT: Final = re.compile(r";\s*q\s*=\s*(?P<weight>[01](?:\.[0-9]{0,3})?)\s*$", re.ASCII | re.IGNORECASE)


class Answer(NamedTuple):
    """The head and the body of an answer; the body is that of all answers with this file."""

    head: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class _Form:
    """One form of a file: its head, without what changes from answer to answer, its body and its tag."""

    head: str
    body: bytes
    tag: str

    @classmethod
    def of(cls, body: bytes, tag: str, *headers: str) -> _Form:
        lines = (*headers, f"ETag: {tag}", *(f"{name}: {value}" for name, value in _HEADERS.items()))
        return cls("".join(f"{line}\r\n" for line in lines), body, tag)


@dataclass(frozen=True, slots=True)
class _File:
    """A file in its two forms, of which `packed` may be the same as `plain`."""

    plain: _Form
    packed: _Form


class Page:
    """The files of the page, each at its path."""

    def __init__(self, folder: str | PathLike[str]) -> None:
        """Read the files that the manifest in `folder` names, and compress them. It takes a fraction of a second.

        Raises:
            CannotListen: a file is missing or not the one that the manifest means, or they are too many or too large.

        """
        where = str(folder)
        self._files: dict[str, _File] = {}
        left = limits.MAX_PAGE
        for name, facts in _entries(f"{where}/{MANIFEST}"):
            data = read_regular("page's", f"{where}/{name}", left + 1)
            if len(data) > left:
                raise CannotListen(f"The page in '{where}' has more than {limits.MAX_PAGE} bytes.")
            left -= len(data)
            if hashlib.sha256(data).hexdigest() != facts["sha256"]:
                raise CannotListen(
                    f"The page's file '{name}' in '{where}' is not the one that {MANIFEST} means. Build the page "
                    "again, or install p2p-copy again."
                )
            self._files["/" if name == _INDEX else f"/{name}"] = _file(name, data, facts)

    @property
    def paths(self) -> tuple[str, ...]:
        """Where its files are."""
        return tuple(self._files)

    def answer(self, request: h11.Request) -> Answer | None:
        """Return the answer to a request; None if there is no file at its path."""
        file = self._files.get(request.target.partition(b"?")[0].decode("ascii", "replace"))
        if file is None:
            return None
        if request.method not in (b"GET", b"HEAD"):
            return Answer(_METHOD.format(date=formatdate(usegmt=True)).encode(), b"")
        form = file.packed if _takes_gzip(_value(request, b"accept-encoding")) else file.plain
        known = _knows(_value(request, b"if-none-match"), form.tag)
        status = HTTPStatus.NOT_MODIFIED if known else HTTPStatus.OK
        size = "" if known else f"Content-Length: {len(form.body)}\r\n"
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nDate: {formatdate(usegmt=True)}\r\n{size}{form.head}\r\n"
        ).encode()
        return Answer(head, b"" if known or request.method == b"HEAD" else form.body)


_METHOD: Final = (
    "HTTP/1.1 405 Method Not Allowed\r\nDate: {date}\r\nAllow: GET, HEAD\r\nContent-Length: 0\r\n"
    "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
)


def _entries(path: str) -> list[tuple[str, dict[str, Any]]]:
    """Return what the manifest says, after a check of every part that is used."""
    wrong = CannotListen(
        f"'{path}' is no list of a page's files. Build the page again, or install p2p-copy again."
    )
    try:
        files = json.loads(read_regular("page's", path, limits.MAX_PAGE_MANIFEST))["files"]
        entries = list(files.items())
    except (ValueError, TypeError, KeyError, AttributeError):
        raise wrong from None
    if _INDEX not in files or len(entries) > limits.MAX_PAGE_FILES:
        raise wrong
    for name, facts in entries:
        if not (
            isinstance(facts, dict)
            and isinstance(facts.get("type"), str)
            and isinstance(facts.get("sha256"), str)
            and _NAME.fullmatch(name)
            and _TYPE.fullmatch(facts["type"])
        ):
            raise wrong
    return entries


def _file(name: str, data: bytes, facts: dict[str, Any]) -> _File:
    # A file to be stored is a page of its own, with scripts inside, which must not run with this relay's origin.
    saved = [f'Content-Disposition: attachment; filename="{name}"'] if facts.get("download") else []
    headers = (f"Content-Type: {facts['type']}", *saved)
    digest = facts["sha256"][:32]
    plain = _Form.of(data, f'"{digest}"', *headers)
    packed = gzip.compress(data, mtime=0)
    if len(packed) >= len(data):
        return _File(plain, plain)
    return _File(plain, _Form.of(packed, f'"{digest}-gzip"', *headers, "Content-Encoding: gzip"))


def _value(request: h11.Request, name: bytes) -> str:
    """Return the values of a header as one list; RFC 9110 section 5.3."""
    return ",".join(value.decode("ascii", "replace") for key, value in request.headers if key == name)


def _takes_gzip(accepted: str) -> bool:
    """Tell whether `Accept-Encoding` has gzip, with a weight above 0 (RFC 9110 section 12.5.3)."""
    weights: dict[str, float] = {}
    for item in accepted.lower().split(","):
        found = _WEIGHT.search(item)
        weights[item.partition(";")[0].strip()] = float(found["weight"]) if found else 1.0
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _knows(tags: str, tag: str) -> bool:
    """Tell whether `If-None-Match` names this tag (RFC 9110 section 13.1.2); a weak one is as good."""
    return any(each.strip().removeprefix("W/") in (tag, "*") for each in tags.split(","))
