"""Selects a part of a transfer, by patterns as in a .gitignore for the paths inside it.

A path is `tree/sub/file`, as in the manifest, whatever the separator of this system. `exclude` takes precedence over
`only`. Within each, the last pattern that matches decides, and one that begins with `!` reverses it. A directory that
is excluded is never entered. With `only`, a directory that does not match is sent only if something in it matches.
"""

from __future__ import annotations

import re
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from p2p_copy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    _Rule = tuple[Callable[[str], object], bool]
    """What tells whether a path matches, and whether one that matches is wanted."""

_STAR, _ANY = "[^/]*", "[^/]"
_ANYWHERE, _DEEP = "^(?:.+/)?", "(?:/.+)?/"
"""What `*`, `?`, a leading `**/` and a `/**/` are in a regular expression. No name has a `/`, and brackets in names are
escaped, so nothing else in the expression looks the same."""

_SPECIAL: Final = frozenset("*?[\\")


class Selection:
    """What `only` and `exclude` select of a tree; each may be empty.

    Attributes:
        everything: there are no patterns.
        patterns: `only` and `exclude`, as given.

    Raises:
        UsageError: a pattern has the wrong form, or can match nothing.

    """

    def __init__(self, only: str | Iterable[str] = (), exclude: str | Iterable[str] = ()) -> None:
        """Take `only` and `exclude`, a pattern or several."""
        only, exclude = _several(only), _several(exclude)
        self.everything = not only and not exclude
        self.patterns = (only, exclude)
        self._only = _rules("`only`", only)
        self._exclude = _rules("`exclude`", exclude)
        self._places = [_place(pattern) for pattern in only if not pattern.startswith("!")]

    def takes(self, path: str, *, directory: bool = False) -> bool:
        """Return whether something is selected itself; the contents of a directory are decided one by one."""
        if directory:
            path += "/"
        return not _matches(self._exclude, path) and (not self._only or _matches(self._only, path))

    def leads(self, path: str) -> bool:
        """Return whether something in a directory may be selected, whether or not the directory is."""
        path += "/"
        if _matches(self._exclude, path):
            return False
        return not self._only or any(
            place.startswith(path) or path.startswith(place) for place in self._places
        )


def _several(patterns: str | Iterable[str]) -> tuple[str, ...]:
    return (patterns,) if isinstance(patterns, str) else tuple(patterns)


def _rules(option: str, patterns: Sequence[str]) -> list[_Rule]:
    """Return a rule for each pattern, the last one first."""
    if not patterns:
        return []
    # Slow to import, rarely needed.
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    rules: list[_Rule] = []
    for text in patterns:
        try:
            pattern = GitIgnoreSpecPattern(text)
        except (ValueError, re.error):
            pattern = None
        if pattern is None or pattern.regex is None or pattern.include is None:
            raise UsageError(
                f"{option} '{text}' matches nothing: patterns are written as in a .gitignore file."
            )
        rules.append((_without_backtracking(pattern.regex).match, pattern.include))
    return rules[::-1]


def _without_backtracking(regex: re.Pattern[str]) -> re.Pattern[str]:
    """Return an expression that matches the same paths, in a time that does not grow with a power of their length.

    There are two differences, both as in git: a name may hold a line break, and a class as `[!a]` does not match `/`.

    The sender chooses the names, and an ordinary search would try `*a*a*a*a*b` on a name of a hundred letters in
    millions of ways. But what is between two `*` of a name, or two `**` of a path, need only be found at its first
    place: if the rest does not match after that, it matches after no later place.
    """
    text, *pieces = regex.pattern.split(_STAR)
    for number, piece in enumerate(pieces, 1):
        is_between = number < len(pieces) and "/" not in piece.replace(_ANY, "")
        text += f"(?>{_STAR}?{piece})" if is_between else _STAR + piece
    text, *pieces = text.split(_DEEP)
    if pieces and text.startswith(_ANYWHERE):
        text = f"^(?>(?:.+?/)??{text.removeprefix(_ANYWHERE)}(?=/))"
    for number, piece in enumerate(pieces, 1):
        text += f"(?>(?:/.+?)??/{piece}(?=/))" if number < len(pieces) else _DEEP + piece
    return re.compile(text, re.DOTALL)


def _matches(rules: list[_Rule], path: str) -> bool:
    for match, wanted in rules:
        if match(path):
            return wanted
    return False


def _place(pattern: str) -> str:
    """Return the literal directory at the start of a pattern, in which all its matches are; empty if there is none."""
    body = pattern.rstrip("/ ")
    if "/" not in body:  # then it matches at every depth
        return ""
    written = takewhile(lambda part: not _SPECIAL & set(part), body.lstrip("/").split("/"))
    return "".join(f"{part}/" for part in written)


EVERYTHING: Final = Selection()
