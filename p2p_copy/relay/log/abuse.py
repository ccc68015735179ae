"""The kinds of abuse that a relay withstands, with a line in the log and a count for each.

A kind's line is written once in `limits.LOG_WINDOW` seconds; what follows within that time is one more line that sums
it up (`lines`), so that a flood fills no disk. Each relay has its own counts, with a zero for each kind from the
beginning: so a program that watches sees the first case as an increase. `contrib/prometheus/alerts.yml` names every
kind.
"""

from __future__ import annotations

import logging
from collections import Counter
from enum import Enum

from p2p_copy.relay.log.events import Event


def _event(name: str, text: str, meaning: str) -> Event:
    return Event(name, logging.INFO, text, meaning, summed=True)


class Abuse(Enum):
    """The kinds of abuse. Each value is the event of its kind, whose name is also the label in the metrics."""

    EVICTED = _event(
        "evicted",
        "closed: the oldest connection without a hello, to make room for a new one",
        "The limit of connections without a hello (--max-pending), or of all connections, was reached. The relay "
        "closed the oldest one of the network that has most of them.",
    )
    NETWORK_FULL = _event(
        "network-full",
        "closed: too many connections of one IPv6 network (/56 or /48)",
        "A connection was closed for a limit that a network shares, before a byte was read: see "
        "[Limits of a relay](relay-limits.md).",
    )
    CONTESTED = _event(
        "contested",
        "a waiting client answers late, and another client asks for its place",
        "The first client keeps the place as long as its machine answers. Many of these: an attacker tries out rooms, "
        "or a network is bad.",
    )
    HEAD_TOO_LONG = _event(
        "head-too-long",
        "refused: the head of an HTTP request is too long",
        "No client, browser or proxy sends one as long.",
    )
    ORIGIN = _event(
        "origin",
        "refused: the request of a web page; --web-origin names pages that may use the relay",
        "A request had an Origin: a page in a visitor's browser must not use a relay that the visitor can reach. If it "
        "was this relay's own page (--web), [a proxy](relay-proxy.md) in front changes Host or its port.",
    )
    ADMIN_REFUSED = _event(
        "admin-refused",
        "refused at the admin address: a request that a web page may have caused",
        "It had an Origin or a form's body, or was for another host than this machine. A browser on this machine may "
        "show such a page.",
    )
    MEMORY = _event(
        "memory",
        "ended: a pair that stood still while memory was short",
        "Pairs whose receivers take nothing hold most of --max-memory. The relay ends those that stood still longest; "
        "their clients come back and go on. If this is no attack, the relay needs more memory.",
    )
    TLS_WASTE = _event(
        "tls-waste",
        "closed: a connection whose TLS records bring no content",
        "Changes of keys, empty records and the like cost processor time. No client sends many.",
    )
    URGENT_DATA = _event(
        "urgent-data",
        "urgent bytes inside of what a client sends",
        "No client sends any. Linux does not pass them on by itself, so the relay copies the bytes around them.",
    )
    UNREAD = _event(
        "unread",
        "closed: a client that takes nothing of what the relay says",
        "A send to it has met its deadline.",
    )
    SLOW_FILES = _event(
        "slow-files",
        "a file of certificates or tokens could not be read in time",
        "The disk or the network that it is on hangs, or it is no regular file. What was read before stays in use.",
    )
    FOREIGN_ROOM = _event(
        "foreign-room",
        "refused: a room that is not this transfer's",
        "`send --serve` serves its own transfer only. Another client took it for an open relay.",
    )

    @property
    def event(self) -> Event:
        """The event that is logged for this kind."""
        return self.value


class AbuseCounter:
    """The cases of one relay.

    Attributes:
        counts: how many, by the kinds' names.

    """

    def __init__(self) -> None:
        """Begin with zero of each kind."""
        self.counts = Counter({kind.event.name: 0 for kind in Abuse})

    def count(self, kind: Abuse) -> None:
        """Count one case, and log it."""
        self.counts[kind.event.name] += 1
        kind.event.log()
