"""A malicious sender that speaks the protocol, with a real receiver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from p2p_copy.errors import P2PCopyError
from p2p_copy.observer import Observer, Report
from p2p_copy.options import RelayAccess
from p2p_copy.peer.connect import meet
from p2p_copy.peer.failures import plain_errors
from p2p_copy.peer.meeting import ConnectOptions
from p2p_copy.protocol.digest import FileDigest
from p2p_copy.protocol.messages import (
    Data,
    Entry,
    FileEnd,
    Goodbye,
    Kind,
    Message,
    Offer,
    Preserved,
    Receipt,
)
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer.resumption import Resumption
from tests.support.transfers import CODE, Told, receive, running_relay

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def directory(depth: int, name: str) -> Entry:
    return Entry(Kind.DIRECTORY, depth, name, 0o755)


def file(depth: int, name: str, size: int = 0, mode: int = 0o644, mtime_ns: int = 0) -> Entry:
    return Entry(Kind.FILE, depth, name, mode, mtime_ns, size)


def link(depth: int, name: str, target: str) -> Entry:
    return Entry(Kind.SYMLINK, depth, name, target=target)


def digest(data: bytes) -> bytes:
    one = FileDigest(len(data))
    one.update(data)
    return one.digest()


def contents(index: int, data: bytes) -> list[Message]:
    return [*([Data(index, 0, data)] if data else []), FileEnd(index, digest(data))]


class Attack:
    """What the attacker sends, record by record, and how both sides ended."""

    def __init__(self) -> None:
        self.outcome: Report | Exception | None = None
        self.heard: list[Message] = []
        self.told = Told()

    async def sender(self, relay: str, records: Sequence[Sequence[Message]]) -> None:
        try:
            with plain_errors():
                partner = ConnectOptions(Role.SENDER, [RelayAccess(relay)], CODE, 10, Observer())
                async with meet(partner, Resumption(None, 0).meeting(partner), 10) as (link_, session):
                    session.say(Offer("attacker/1", 1, Preserved(sum(Preserved))))
                    await link_.send(session.record())
                    self.heard += session.hear(await link_.receive())
                    for record in records:
                        while Goodbye() in record and not any(isinstance(one, Receipt) for one in self.heard):
                            self.heard += session.hear(await link_.receive())
                        for message in record:
                            session.say(message)
                        await link_.send(session.record())
                    while True:
                        self.heard += session.hear(await link_.receive())
        except P2PCopyError:
            pass

    async def receiver(self, relay: str, out: Path, options: dict[str, Any]) -> None:
        try:
            self.outcome = await receive(
                str(out), relay=relay, code=CODE, patience=0, observer=self.told, **options
            )
        except P2PCopyError as error:
            self.outcome = error


async def attack(out: Path, *records: Sequence[Message], **options: object) -> Attack:
    one = Attack()
    with trio.fail_after(30):
        async with running_relay() as relay, trio.open_nursery() as nursery:
            nursery.start_soon(one.sender, relay, records)
            await one.receiver(relay, out, options)
            nursery.cancel_scope.cancel()
    return one


BAD_NAMES = {
    "empty": "", "dot": ".", "dot dot": "..", "root": "/", "absolute": "/etc/passwd", "traversal": "../../pwned",
    "nested": "a/b", "backslash": "a\\b", "backslash traversal": "..\\pwned", "drive": "C:", "drive path": "D:x",
    "unc": "\\\\host\\share", "stream": "file:stream", "nul": "a\x00b", "newline": "a\nb", "escape": "\x1b[2Jx",
    "c1": "a\x9bb", "rlo": "a\u202egpj.exe", "isolate": "a\u2066b", "zero width": "a\u200bb", "alm": "a\u061cb",
    "private use": "a\ue000b", "line separator": "a\u2028b", "con": "CON", "nul device": "nul.txt",
    "com": "com1.tar.gz",
    "superscript": "LPT\u00b2", "conin": "CONIN$", "trailing dot": "a.", "trailing space": "a ", "too long": "x" * 256,
    "star": "a*b", "question": "a?b", "pipe": "a|b", "quote": 'a"b', "less": "a<b", "our own part": ".p2p-copy-00.part",
}  # fmt: skip
