"""What a check has found: the values that `examination` reports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from p2p_copy.errors import P2PCopyError


class Check(StrEnum):
    """The checks, in the order in which they are made."""

    PROGRAM = "program"
    RELAY = "relay"
    PROXY = "proxy"
    AUTHORITIES = "authorities"
    NAME = "name"
    TCP = "tcp"
    TUNNEL = "tunnel"
    TLS = "tls"
    UPGRADE = "upgrade"
    WELCOME = "welcome"
    CERTIFICATE = "certificate"
    CLOCK = "clock"
    ACME = "acme"
    """Over TLS without a proxy: whether an authority could check the name for a relay that gets its own certificate."""
    PAIRING = "pairing"
    ROUND_TRIP = "round_trip"
    IDLE = "idle"
    SPEED_THERE = "speed_there"
    SPEED_BACK = "speed_back"
    DISK = "disk"
    STATE = "state"


class Verdict(StrEnum):
    """What a check says."""

    GOOD = "good"
    WARNING = "warning"
    """Transfers work, but something is not as it should be."""
    WRONG = "wrong"
    NOT_TRIED = "not_tried"
    """It depends on a check that says WRONG."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found.

    Attributes:
        check: which one.
        verdict: what it says.
        sentence: what was found; if it is wrong, also what to change.
        error: with which error a transfer would fail here; None if it would not.
        seconds: what was measured in seconds; None if nothing was.
        rate: what was measured in bytes per second; None if nothing was.
        relay: the address of the relay that it is about; empty if it is about this machine.

    """

    check: Check
    verdict: Verdict
    sentence: str
    error: P2PCopyError | None = None
    seconds: float | None = None
    rate: int | None = None
    relay: str = ""


def good(check: Check, sentence: str, *, seconds: float | None = None, rate: int | None = None) -> Finding:
    """Return a finding that is as it should be."""
    return Finding(check, Verdict.GOOD, sentence, None, seconds, rate)


def warning(check: Check, sentence: str, *, seconds: float | None = None) -> Finding:
    """Return a finding with which transfers work."""
    return Finding(check, Verdict.WARNING, sentence, None, seconds)


def wrong(check: Check, error: P2PCopyError) -> Finding:
    """Return a finding with which transfers fail."""
    return Finding(check, Verdict.WRONG, str(error), error)
