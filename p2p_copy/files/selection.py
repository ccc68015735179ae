"""Which part of a transfer is wanted: patterns, as in a .gitignore, over the paths inside it.

A path is `tree/sub/file`, as the manifest has it, whatever the separator of this system. `exclude` wins over `only`;
of the patterns of each, the last one that matches decides, and one with `!` in front takes back. A directory that is
excluded is never looked into. With `only`, a directory that does not match is wanted only for what is wanted in it.
"""

from __future__ import annotations

import re
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from p2p_copy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    _Rule = tuple[Callable[[str], object], bool]
    """What tells whether a path matches, and whether it is wanted then."""

_STAR, _ANY = "[^/]*", "[^/]"
_ANYWHERE, _DEEP = "^(?:.+/)?", "(?:/.+)?/"
"""What becomes of `*`, `?`, a `**/` in front and a `/**/` in a regular expression. No name has a `/`, and brackets of
names are escaped, so nothing else in it looks like that."""

_SPECIAL: Final = frozenset("*?[\\")


class Selection:
    """What `only` and `exclude` leave of a tree; each may be empty.

    Attributes:
        everything: there are no patterns, so nothing needs to be asked.
        patterns: `only` and `exclude`, as given.

    Raises:
        UsageError: a pattern has the wrong form, or can match nothing.

    """

    def __init__(self, only: str | Iterable[str] = (), exclude: str | Iterable[str] = ()) -> None:
        """Take `only` and `exclude`, a pattern or several."""
        only, exclude = _several(only), _several(exclude)
        self.everything = not only and not exclude
        self.patterns = (only, exclude)
        self._only = _rules("--only", only)
        self._exclude = _rules("--exclude", exclude)
        self._places = [_place(pattern) for pattern in only if not pattern.startswith("!")]

    def takes(self, path: str, *, directory: bool = False) -> bool:
        """Return whether something is wanted for its own sake; what lies in a directory is asked for one by one."""
        if directory:
            path += "/"
        return not _matches(self._exclude, path) and (not self._only or _matches(self._only, path))

    def leads(self, path: str) -> bool:
        """Return whether something that is wanted may lie in a directory, be it wanted for its own sake or not."""
        path += "/"
        if _matches(self._exclude, path):
            return False
        return not self._only or any(
            place.startswith(path) or path.startswith(place) for place in self._places
        )


def _several(patterns: str | Iterable[str]) -> tuple[str, ...]:
    return (patterns,) if isinstance(patterns, str) else tuple(patterns)


def _rules(option: str, patterns: Sequence[str]) -> list[_Rule]:
    """Return what to ask for each pattern, the last one first."""
    if not patterns:
        return []
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern  # takes a while, and few want it

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
        rules.append((_in_time(pattern.regex).match, pattern.include))
    return rules[::-1]


def _in_time(regex: re.Pattern[str]) -> re.Pattern[str]:
    """Return what matches the same paths, in a time that does not grow with a power of their length.

    Except that a name may hold a line break, and that a class as `[!a]` stands for no `/`, as in git.

    Names are chosen by the sender, and `*a*a*a*a*b` held against a name of a hundred letters would be tried in millions
    of ways. What stands between two `*` of a name, or two `**` of a path, need only be found where it comes first: if
    the rest does not match behind that, it matches nowhere.
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
    """Return the directory, as far as it is written out, that a pattern's matches lead to or lie in: empty for any."""
    body = pattern.rstrip("/ ")
    if "/" not in body:  # then it matches at every depth
        return ""
    written = takewhile(lambda part: not _SPECIAL & set(part), body.lstrip("/").split("/"))
    return "".join(f"{part}/" for part in written)


EVERYTHING: Final = Selection()
