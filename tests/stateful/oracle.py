"""Watches all records that are made and opened, and checks what no adversary may cause.

1. No key seals two records with the same nonce.
2. A session accepts exactly the other side's records, from the first one on, in order and without a gap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.protocol.messages import Data, WholeFile
from p2p_copy.protocol.records import Opened, Opener, Sealer
from p2p_copy.protocol.session import Session
from p2p_copy.value import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from p2p_copy.protocol.messages import Message


class Oracle:
    """The records of all sessions since `watch` was called.

    Attributes:
        contents: bytes of files that were sent.
        records: how many were opened.
        misreads: change the next bytes of a file after they were read.

    """

    def __init__(self) -> None:
        self.contents = 0
        self.records = 0
        self.misreads = False
        self._sealed: dict[bytes, list[bytes]] = {}
        self._nonces: set[tuple[bytes, bytes]] = set()

    def forget(self) -> None:
        """Forget everything: the next example uses the same keys."""
        self.__init__()  # type: ignore[misc]

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Watch every session from now on."""
        seal, open_record, say = Sealer.seal, Opener.open, Session.say
        first: dict[Sealer | Opener, bytes] = {}
        taken: dict[Opener, int] = {}

        def seal_watched(
            sealer: Sealer, parts: Sequence[bytes | bytearray | memoryview], *, final: bool = False
        ) -> bytes:
            cipher = sealer._cipher
            used = (cipher._key, cipher.nonce)
            assert used not in self._nonces, "two records under one key have the same nonce"
            self._nonces.add(used)
            key = first.setdefault(sealer, cipher._key)
            record = seal(sealer, parts, final=final)
            self._sealed.setdefault(key, []).append(record)
            return record

        def open_watched(opener: Opener, record: bytes, into: memoryview | None = None) -> Opened:
            key = first.setdefault(opener, opener._cipher._key)
            opened = open_record(opener, record, into)
            number = taken.setdefault(opener, 0)
            said = self._sealed.get(key, [])
            assert said[number : number + 1] == [record], "a record was taken that was not the next one"
            taken[opener] += 1
            self.records += 1
            return opened

        def say_watched(session: Session, message: Message) -> None:
            if isinstance(message, (Data, WholeFile)):
                self.contents += len(message.data)
                if self.misreads:
                    self.misreads = False
                    message = replace(message, data=bytes((message.data[0] ^ 1,)) + bytes(message.data[1:]))
            say(session, message)

        monkeypatch.setattr(Sealer, "seal", seal_watched)
        monkeypatch.setattr(Opener, "open", open_watched)
        monkeypatch.setattr(Session, "say", say_watched)
