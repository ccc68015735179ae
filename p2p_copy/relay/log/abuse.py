"""What strangers do to a relay, and it withstands: for each kind a line in the log and a count.

    abuse.note(Abuse.ORIGIN)    one case more

A kind's line is written once in `limits.LOG_WINDOW` seconds; what follows within that time is one more line that sums
it up (`lines`), so that a flood fills no disk. The counts are those of this process, like Prometheus' own, and each
kind is there from the beginning: who watches sees the first case as an increase. `contrib/prometheus/alerts.yml` names
every kind.
"""

from __future__ import annotations

import logging
from collections import Counter
from enum import Enum
from typing import Final

from p2p_copy.relay.log.events import Event


def _event(name: str, text: str, meaning: str) -> Event:
    return Event(name, logging.INFO, f"! {text}", meaning, summed=True)


class Abuse(Enum):
    """Each kind, with its event, whose name is also the metric's label."""

    EVICTED = _event(
        "evicted",
        "put out: the oldest connection without a hello, for a newcomer",
        "As many connections as may be were here without a hello (--max-pending), or in all. The oldest one of the "
        "network with most of them was closed.",
    )
    NETWORK_FULL = _event(
        "network-full",
        "turned away: too many connections of one IPv6 network (/56 or /48)",
        "A connection was closed for a limit that a network shares, before anything was read of it. See docs/relay.md.",
    )
    CONTESTED = _event(
        "contested",
        "a waiting client answers late, and another one wants its place",
        "It keeps the place as long as its machine answers. Many of these: somebody tries out rooms, or a network is "
        "bad.",
    )
    HEAD_TOO_LONG = _event(
        "head-too-long",
        "refused: the head of an HTTP request is too long",
        "No client, browser or proxy sends one as long.",
    )
    ORIGIN = _event(
        "origin",
        "refused: the request of a web page",
        "A request had an Origin: a page in a visitor's browser must not use a relay that the visitor can reach.",
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
        "Pairs whose receivers take nothing hold most of --max-memory. Those that stood still for longest are ended; "
        "our clients come back and go on. If they are no attack, the relay needs more memory.",
    )
    TLS_WASTE = _event(
        "tls-waste",
        "cut: a connection whose TLS records bring no content",
        "Changes of keys, empty records and the like cost processor time. No client sends many.",
    )
    URGENT_DATA = _event(
        "urgent-data",
        "urgent bytes inside of what a client sends",
        "No client sends any. Linux does not pass them on by itself, so the relay copies what they are in.",
    )
    UNREAD = _event(
        "unread",
        "cut: a client that takes nothing of what the relay says",
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
        "`send --serve` serves its own transfer only. Somebody took it for an open relay.",
    )

    @property
    def event(self) -> Event:
        """What the log says of it."""
        return self.value


COUNTS: Final = Counter({kind.event.name: 0 for kind in Abuse})
"""Cases in this process, by the kinds' names."""


def note(kind: Abuse) -> None:
    """Count one case, and log it."""
    COUNTS[kind.event.name] += 1
    kind.event.log()
