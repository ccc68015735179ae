"""What a stranger, a man in the middle, a peer, a neighbour, a disk or a terminal can do to a relay or a transfer.

A test that shows what becomes of it says so: `@pytest.mark.fault(45, "reflection")`. `test_catalogue` holds the marks
of all tests against this list, both ways. Faults 1 to 42 are about the relay, and in the names of the campaign's tests;
those from 81 to 100, which are about the relay as well, are in the names and marked.
"""

from __future__ import annotations

from typing import Final

FAULTS: Final[dict[int, tuple[str, ...]]] = {
    # A man in the middle: the relay itself, or a machine on the way to it
    43: ("wrong secret", "no metadata"),
    44: ("second guess", "second guess after a restart"),
    45: ("reflection", "role swap"),
    46: ("low order", "non-canonical"),
    47: ("nonces", "capabilities", "shares", "old session"),
    48: ("tag missing", "tag early", "tag twice", "data before the tag"),
    49: ("flip", "drop", "duplicate", "reorder", "other file", "other direction", "other session"),
    50: ("cut at every record", "close 1000", "forged end"),
    51: ("after the last record", "short count", "two last records"),
    52: ("length bomb",),
    53: ("version", "suite"),
    54: ("swapped pairs",),
    55: ("CPace vectors", "HKDF vectors", "AEAD vectors", "golden files"),
    # A malicious sender, and other users who can write to the receiver's disk
    56: ("file", "directory", "in a transfer that goes on"),
    57: ("normal form", "case", "dot and space", "file and directory"),
    58: ("link at the target", "link at a parent", "link at the temporary name", "parent in a race"),
    59: ("file", "directory", "fifo", "socket", "overwrite"),
    60: ("beyond the size", "offsets", "order", "unknown file", "twice"),
    61: ("bomb", "declared size", "many frames", "window"),
    62: ("too many entries", "too many bytes", "too deep", "memory"),
    63: ("more than the disk holds",),
    64: ("full", "quota", "input/output error", "read-only", "unwritable parent", "part is kept"),
    65: ("prompt and errors", "progress", "words of the other side"),
    66: ("mode", "time"),
    67: ("path outside", "file of the user's"),
    68: ("part edited", "part a link", "part of another user", "state edited", "state a link"),
    69: ("part", "umask", "state"),
    70: ("SIGINT", "SIGTERM", "SIGKILL", "many times"),
    # Whatever a sender meets
    71: ("grows", "shrinks", "rewritten", "replaced", "deleted", "unreadable", "exit code"),
    72: ("fifo", "device", "socket", "dangling link", "looping link", "mount loop"),
    73: (
        "false receipt", "holds more than there is", "wrong prefix digest", "offsets", "never reads", "endless pings",
        "other files",
    ),
    74: ("not UTF-8", "newline"),
    75: ("arguments", "process list"),
    76: (
        "silent after TCP", "silent after TLS", "silent after the upgrade", "endless answer", "closed at once",
        "untrusted", "expired", "other host", "captive portal", "proxy",
    ),
    77: ("name", "IPv6", "relay restarts", "lost link", "pauses", "patience"),
    78: ("wrong role", "same machine", "two receivers"),
    79: ("table", "only after the receipt"),
    80: ("reader gone", "closed", "narrow", "encoding", "stopped", "full pipe", "full disk", "result lost"),
    # A stranger and a relay on the open internet
    81: ("text",),
    82: ("pairs that do not read", "memory is short"),
    83: ("idle pairs",),
    86: ("before a hello", "waiting"),
    87: ("paired",),
    88: ("inside a payload",),
    89: ("request",),
    90: ("byte by byte",),
    91: ("while it waits", "when it is refused", "when it is paired", "when the relay stops"),
    92: ("certificate", "tokens", "at the start", "the end"),
    93: ("other rooms", "legacy rooms", "silent strangers"),
    # Strangers at a relay, from many networks, and from a visitor's browser
    96: ("one line at home", "many networks"),
    97: ("same role", "other role"),
    98: ("relay", "admin address"),
    99: ("head",),
    100: ("log and metric",),
    # What a peer or a neighbour can learn, or put in the way
    101: ("digest", "same content", "link", "killed"),
    102: ("part", "part that others may write to", "directory"),
    103: ("before the name", "after the name", "hard link", "symbolic link"),
    104: ("id", "key", "listing", "resume"),
    105: ("state directory",),
    # What clients are told, by whomever
    106: ("odd JSON", "escapes", "dripping answer", "endless answer"),
    107: ("wrong values", "missing facts", "no facts"),
    108: ("names as lines", "names in other lines", "totals"),
    109: ("messages of a record", "answers of a record", "entries", "omitted numbers", "patterns"),
    110: ("umask", "receipts", "default access list"),
}  # fmt: skip
"""Numbers, and what each of them names."""
