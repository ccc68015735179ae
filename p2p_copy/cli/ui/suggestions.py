"""Finds what a user meant by a mistyped word, or nothing: a wrong guess is worse than none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_NEAR: Final = 0.75
"""Share of equal characters from which on words are near: `quite` is near `quiet`; `json` is not near `only`."""

_LEAST_PREFIX: Final = 3
"""Characters that the beginning of a word needs to stand for it."""


def near(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that a mistyped word is near to, or the only one that begins like it; None if none is."""
    import difflib  # imported only after a mistake

    bare = {
        candidate.strip("-").lower(): candidate for candidate in candidates if len(candidate.strip("-")) > 1
    }
    word = word.strip("-").lower()
    for name in bare:
        if sorted(name) == sorted(word):  # letters in another order, which count for much in a short word
            return bare[name]
    if found := difflib.get_close_matches(word, bare, n=1, cutoff=_NEAR):
        return bare[found[0]]
    begun = [
        candidate
        for name, candidate in bare.items()
        if min(len(name), len(word)) >= _LEAST_PREFIX and (name.startswith(word) or word.startswith(name))
    ]
    return begun[0] if len(begun) == 1 else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return " Did you mean X?" for a mistyped word, to be put after a sentence; empty if nothing is near."""
    found = near(word, candidates)
    return f" Did you mean {found}?" if found else ""
