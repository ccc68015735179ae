"""Collects the answers of a receiver, and makes records of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.transfer import limits

if TYPE_CHECKING:
    from p2p_copy.protocol.messages import Message
    from p2p_copy.protocol.session import Session


class Replies:
    """Collects messages into records of `session`, each as full as it may be."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._records: list[bytes] = []

    def add(self, message: Message) -> None:
        """Add a message, in a new record if the last one is full: one record can end many files."""
        if self._session.pending >= limits.RECORD_TARGET or not self._session.fits(message):
            self._close_record()
        self._session.say(message)

    def take_records(self) -> list[bytes]:
        """Return the records with everything added since the last call."""
        self._close_record()
        records, self._records = self._records, []
        return records

    def _close_record(self) -> None:
        if self._session.pending:
            self._records.append(self._session.record())
