"""What the reference implementation says of many cases, for the tests of the page's own implementation."""

from __future__ import annotations

import json
import random
import unicodedata
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from p2p_copy.errors import PeerMisbehaved, UsageError
from p2p_copy.protocol import digest, limits, names, state_machine, wire
from p2p_copy.protocol.code import Code, CodeTypo
from p2p_copy.protocol.messages import (
    Abort,
    Accept,
    Ask,
    Data,
    Entry,
    FileEnd,
    FileFail,
    Finish,
    Goodbye,
    Held,
    Holds,
    Hole,
    Kept,
    Kind,
    Message,
    Offer,
    Omitted,
    Page,
    Preserved,
    Preview,
    Progress,
    Reason,
    Receipt,
    Reject,
    SameSegments,
    SegmentDigests,
    Total,
    Unwanted,
    WholeFile,
)
from p2p_copy.protocol.multipath import Ack, AckCodec
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.protocol.state_machine import ReceiverState, SenderState
from p2p_copy.protocol.wordlist import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENTRIES = (
    Entry(Kind.DIRECTORY, 0, "tree", 0o755, 1_700_000_000_123_456_789),
    Entry(Kind.FILE, 1, "ä file", 0o644, -5, 123456),
    Entry(Kind.SYMLINK, 1, "link", 0o777, 7, 0, "ä file"),
)

_MESSAGES: tuple[Message, ...] = (
    Offer("p2p-copy 1", 4, Preserved.NOTHING, False, True),
    Accept("p2p-copy 1", True, True, 2, Preserved.NOTHING, False, "", 1 << 24),
    Accept("p2p-copy 1", False, False, 16, Preserved.OWNER, True, ".p2p-copy-0123456789abcdef", 5),
    Ask(True),
    Preview(3, 99, True, 1, _ENTRIES[:2]),
    Total(12, 1 << 40),
    Page(_ENTRIES[:2]),
    Page(_ENTRIES),
    Data(7, 1 << 33, b"contents"),
    Hole(7, 5, 1 << 20),
    SegmentDigests(1, 2, bytes(range(64))),
    Kept(3, 16, 32),
    FileEnd(9, bytes(range(32))),
    FileFail(9, Reason.CHANGED),
    Omitted("a/b", Reason.NAME, True),
    Finish(3, 2, 1, 0, bytes(32)),
    Goodbye(),
    Reject(5, Reason.UNSUPPORTED, "a/link"),
    Unwanted(4),
    Holds(9, (Held(1, 16 << 20, bytes(range(32))), Held(3, 0, bytes(32)))),
    Holds(9, (), ((1, 2), (5, 1)), (4, 6)),
    SameSegments(1, 0, (True, False), False),
    Progress(1, 2, 3),
    Receipt(1, 2, 3, 4, bytes(range(32))),
    Abort(Reason.DECLINED, "it was asked, and declined."),
)

_THIS_SIDE_SENDS = {
    "Offer", "Ask", "Preview", "Total", "Data", "FileEnd", "FileFail", "Omitted", "Finish", "Goodbye", "Reject",
    "Progress", "Receipt", "Abort",
}  # fmt: skip

_FIELDS = {"portable_names": "portable", "mtime_ns": "mtime"}
_INNER = {"extra"}


def _plain(value: object) -> Any:
    """Return a message as the page's implementation has it, in JSON."""
    if isinstance(value, Entry):
        return {
            _FIELDS.get(name, name): _plain(each)
            for name, each in value._asdict().items()
            if name not in _INNER
        }
    if is_dataclass(value) and not isinstance(value, type):
        return {
            _FIELDS.get(field.name, field.name): _plain(getattr(value, field.name)) for field in fields(value)
        }
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def _message(message: Message) -> dict[str, Any]:
    kind = type(message).__name__
    plain = _plain(message)
    if isinstance(message, SameSegments):
        plain["same"] = bytes(message.same).hex()
    plain_page = isinstance(message, Page) and len(message.entries) == 2
    ours = isinstance(message, Accept) and message.portable_names
    held = isinstance(message, Holds) and bool(message.files)
    encodes = kind in _THIS_SIDE_SENDS or plain_page or ours or held
    return {"content": _content(message).hex(), "message": {"type": kind, **plain}, "encodes": encodes}


def _content(*messages: Message) -> bytes:
    return b"".join(bytes(part) for message in messages for part in wire.encode(message))


def _malformed(chance: random.Random) -> Iterator[str]:
    """Yield contents that the reference refuses: cut, longer, changed."""
    for message in _MESSAGES:
        content = bytearray(_content(message))
        for _ in range(60):
            changed = bytearray(content)
            at = chance.randrange(len(changed))
            match chance.randrange(3):
                case 0:
                    del changed[at:]
                case 1:
                    changed[at] ^= 1 << chance.randrange(8)
                case _:
                    changed.insert(at, chance.randrange(256))
            try:
                wire.decode(bytes(changed))
            except PeerMisbehaved:
                yield changed.hex()


_NAME_CHARACTERS = [
    *'aA.b -_:\\|?*<>"/~',
    "ä",
    "ß",
    "\u0131",
    "İ",
    "\u0308",
    "\u202e",
    "\u200d",
    "\0",
    "\x1f",
    "\x85",
    "\u2028",
]


def _names(chance: random.Random) -> Iterator[str]:
    yield from (
        "",
        ".",
        "..",
        "...",
        "con",
        "CON.txt",
        "com1",
        "com¹.x",
        "COM0",
        "lpt9 .a",
        "nul ",
        "conin$",
        "ends.",
    )
    yield from (
        "x" * 255,
        "x" * 256,
        "ä" * 128,
        ".p2p-copy-0",
        ".P2P-COPY-x",
        "aux.tar.gz",
        "auxx",
        "😀",
        "e\u0301",
    )
    for _ in range(2000):
        yield "".join(chance.choices(_NAME_CHARACTERS, k=chance.randrange(1, 7)))


def _collisions(chance: random.Random) -> Iterator[tuple[str, str, bool]]:
    cased = [chr(number) for number in range(0x2FFFF) if _has_case(chr(number))]
    pairs = [
        (one, other) for one in cased for other in {one.upper(), one.lower(), one.title(), one.casefold()}
    ]
    pairs += [(f"x{one}", f"x{other}") for one, other in pairwise(cased)]
    pairs += [
        ("ΑΣ", "ας"),
        ("a.", "A"),
        ("i", "\u0131"),
        ("I", "\u0131"),
        ("İ", "i\u0307"),
        ("ß", "SS"),
        ("ﬁ", "FI"),
        ("é", "E\u0301"),
    ]
    for one, other in chance.sample(pairs, min(len(pairs), 6000)):
        keys = [names.collision_key(name, portable=True) for name in (one, other)]
        yield one, other, keys[0] == keys[1]


def _has_case(character: str) -> bool:
    # Later versions of Unicode give more characters a case, and the two languages may have different ones.
    return (
        unicodedata.category(character) in {"Lu", "Ll", "Lt"}
        and unicodedata.ucd_3_2_0.category(character) != "Cn"
    )


def _codes(chance: random.Random) -> Iterator[dict[str, Any]]:
    generated = [Code.generate(chance.randrange, words=words).text for words in (4, 5, 5, 5, 6, 12)]
    typed = [
        "lab7 - a  long passphrase", "lab7-short", "-no room here", "no dash", "no dash at all here", "",
        "lab-\u202ebidi text",
        "x" * 201 + "-", "ünï-cödé sécret", "  lab7-trimmed secret\u00a0", "a-b-c-d-e-f-g-h-i",
        "one.two-three.four.five",
        "Lab-Ä secret of nine", "lab-e\u0301 secret", "lab\u001c-secret with fs", "über.maß-wort.noch.eins",
    ]  # fmt: skip
    for given in generated:
        typed += [
            given,
            given.upper(),
            given.replace(".", " ").replace("-", " "),
            given.replace(".", "\u2013"),
            f" {given}. ",
        ]
        typed += [
            given.replace("-", "."),
            given.replace(".", "-"),
            given.replace(".", "", 1),
            given.replace(".", "x", 1),
        ]
        for _ in range(12):
            at = chance.randrange(len(given))
            typed.append(given[:at] + chance.choice(["", "q", given[at] * 2, ".", " "]) + given[at + 1 :])
        words = given.replace("-", ".").split(".")
        chance.shuffle(words)
        typed += [
            f"{words[0]}.{words[1]}-{'.'.join(words[2:])}",
            " ".join(words),
            f"{words[0]}-{words[1]} {words[2]}",
        ]
    for text in typed:
        try:
            code = Code.parse(text)
        except CodeTypo as typo:
            meant = None if typo.suggestion is None else typo.suggestion.text
            yield {"typed": text, "kind": "typo", "suggestion": meant}
        except UsageError:
            yield {"typed": text, "kind": "usage"}
        else:
            yield {"typed": text, "kind": "code", "room": code.room, "secret": code.secret}


def _table() -> Iterator[dict[str, Any]]:
    kinds = {type(message): message for message in _MESSAGES}
    for sender in SenderState:
        for receiver in ReceiverState:
            for kind, message in kinds.items():
                if kind is WholeFile:
                    continue
                for role, speaker, listener in (("sender", sender, receiver), ("receiver", receiver, sender)):
                    states = state_machine.say(speaker, listener, message)
                    after = None
                    if states is not None:
                        ours, theirs = (state.value for state in states)
                        after = [ours, theirs] if role == "sender" else [theirs, ours]
                    yield {
                        "role": role, "sender": sender.value, "receiver": receiver.value, "type": kind.__name__,
                        "after": after,
                    }  # fmt: skip


def _digests() -> Iterator[dict[str, Any]]:
    for size in (
        0,
        1,
        70_000,
        limits.SEGMENT - 1,
        limits.SEGMENT,
        2 * limits.SEGMENT,
        2 * limits.SEGMENT + 1,
    ):
        for byte in (0, 7):
            whole = digest.FileDigest(size)
            whole.update(bytes([byte]) * size)
            found = whole.digest().hex()
            yield {
                "size": size, "byte": byte, "digest": found, "prefix": digest.prefix_digest(whole.leaves).hex()
            }  # fmt: skip


def _root() -> dict[str, Any]:
    root = digest.RootDigest()
    entries = []
    for entry in (*_ENTRIES, Entry(Kind.FILE, 1, "failed", size=5)):
        found = bytes(range(32)) if entry.name == "ä file" else None
        root.add(entry, found)
        entries.append(
            {"content": _content(Page((entry,))).hex(), "digest": None if found is None else found.hex()}
        )
    return {"entries": entries, "digest": root.digest().hex()}


def _acks() -> dict[str, Any]:
    secret = bytes(range(32))
    ack = AckCodec(Role.RECEIVER, secret).write(Ack(0, 1, 12, 11))
    return {"links": secret.hex(), "ack": ack.hex(), "received": 12, "consumed": 11}


def write(modules: bool) -> str:
    """Return all cases as JSON. `modules`: the npm packages are there."""
    chance = random.Random(20)
    code = Code.generate(chance.randrange)
    fixed = Code.generate(lambda most: 3)
    targets = ["", "/abs", "../x", "../../x", "a/../b", "./a", "..", "a//b", "con", "a:b", "ä/é"]
    return json.dumps(
        {
            "modules": modules,
            "words": WORDS,
            "limits": {name: value for name, value in vars(limits).items() if name.isupper()},
            "acks": _acks(),
            "messages": list(map(_message, _MESSAGES)),
            "malformed": list(_malformed(chance)),
            "table": list(_table()),
            "names": [(name, names.refusal(name, portable=True) is not None) for name in _names(chance)],
            "targets": [
                (target, depth, names.symlink_target_refusal(target, depth, portable=True) is not None)
                for target in targets
                for depth in range(4)
            ],
            "collisions": list(_collisions(chance)),
            "codes": list(_codes(chance)),
            "generated": {
                "code": code.text,
                "parsed": {"room": code.room, "secret": code.secret, "dashed": True},
                "fixed": fixed.text,
            },
            "digests": list(_digests()),
            "root": _root(),
        }
    )
