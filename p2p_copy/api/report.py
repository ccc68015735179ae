"""How a transfer ended, and what was not delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from p2p_copy.errors import Failure, PartialTransfer
from p2p_copy.units import count
from p2p_copy.value import FrozenValue, as_dict

if TYPE_CHECKING:
    from p2p_copy import observer

MOST_FAILURES: Final = 1000
"""Failures that a report lists. A tree may have a million, which would take hundreds of megabytes."""


class Report(FrozenValue):
    """How a transfer ended, the same on both sides. Bytes are those of file contents.

    Attributes:
        files: regular files that are complete at the receiver.
        size: the sum of their sizes, in bytes.
        failed: how many entries were not delivered: unreadable, changed, refused names, conflicts.
        failures: the first of them, at most `MOST_FAILURES`, in the order in which they became known.
        skipped: entries left as they were because the receiver asked for that.
        excluded: files and symlinks, and directories with everything in them, that patterns left out.
        up_to_date: how many of `files` the receiver had already, the same by size and time, or by their
            contents, so that they were not sent.
        deleted: at the receiver, what was deleted because the sender does not have it; a directory counts once.
        root: the digest over all names, sizes and contents, as 64 hexadecimal digits; empty if nothing arrived.
        seconds: time since both sides were connected.

    """

    files: int
    size: int
    failed: int
    failures: tuple[Failure, ...]
    skipped: int
    excluded: int
    up_to_date: int
    deleted: int
    root: str
    seconds: float

    def raise_for_failures(self) -> None:
        """Return if all was delivered.

        Raises:
            PartialTransfer: it was not; its `failures` are those of this report.

        """
        if self.failed:
            raise PartialTransfer(f"{undelivered(self)}.", failures=self.failures)


def undelivered(report: Report) -> str:
    """Return how much was not delivered, and of how much, as a sentence without its full stop."""
    number = report.files + report.skipped + report.failed
    return f"{report.failed:,} of {count(number, 'file')} {'was' if report.failed == 1 else 'were'} not delivered"


def report_with(plain: observer.Report, failures: tuple[Failure, ...]) -> Report:
    """Return a transfer's report, given which entries were reported as not delivered."""
    given = as_dict(plain)
    return Report(**{**given, "failed": plain.failures, "failures": failures if plain.failures else ()})
