"""The two words that people compare: both sides show the same ones unless an attacker with the code is between them.

Two words are short: 1 in 60 million pairs is right by chance. So an attacker must not be able to look for a share that
gives the words of the other session. The sender commits to a random value together with its share, before it sees
the receiver's, and opens it when the receiver has shown that it has the code; the words come from this value and from
the keys. Of an attacker's two sessions, one for each side, each then has words that were not known when the attacker
had the last choice in it:

- As receiver the attacker chooses its share before the sender's value is opened.
- As sender it chooses its share and its value before the receiver has chosen a share.
"""

from __future__ import annotations

import hashlib
from typing import Final

from p2p_copy.protocol.wordlist import WORDS

VERIFY: Final = "verify"
"""The capability of a side whose user is asked to compare the words. The other side waits for the answer."""

_NUMBER: Final = 8
"""Bytes that become two words: so many more than the words have that all words are equally likely."""


def commitment(opening: bytes) -> bytes:
    """Return the hash that binds the sender to its value, and reveals nothing of it."""
    return hashlib.sha256(b"p2p-copy/1 commitment" + opening).digest()


def words_of(verify: bytes) -> tuple[str, str]:
    """Return the words for what `keys.verify` returns."""
    second, first = divmod(int.from_bytes(verify[:_NUMBER], "big"), len(WORDS))
    return WORDS[first], WORDS[second % len(WORDS)]
