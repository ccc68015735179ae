"""All events of a relay's log, each with its name, its level, its text and its meaning.

Rules:
1. No event has a room, a code, a token or its name, the name of a file that is sent, or words of a client. Sizes are
   rounded.
2. Addresses are no facts of an event: they stand beside it, and only if the operator wants them (`redact.ADDRESS`).
3. An event that any client can cause at will is `DEBUG`, and many of them are summed up; see `lines`. Events that do
   harm, or are meant to, are in `abuse`, and are summed up after the first line.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

from p2p_copy.relay.log.redact import ADDRESS, LOGGER, WORKER


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of line.

    Attributes:
        name: its name for machines, which never changes.
        level: its level, as the module `logging` has them.
        text: its text for people, with the names of the facts.
        meaning: its explanation in the manual.
        single: each one is a line, however many there are.
        always: it is written whatever the least level is.
        summed: after the first line the others are only counted, and the sum follows.

    """

    name: str
    level: int
    text: str
    meaning: str
    single: bool = False
    always: bool = False
    summed: bool = False

    @property
    def text_of_many(self) -> str:
        """The text for several at once, which names no pairing."""
        return self.text.replace("pairing %(pairing)d", "a pairing")

    def log(self, addresses: tuple[str | None, ...] | None = None, **facts: Any) -> None:
        """Write it, with its facts.

        Args:
            addresses: those of the clients that it is about; if None, the address of the current connection.
            facts: those that `text` names, and no others.

        """
        if self.always or LOGGER.isEnabledFor(self.level):
            LOGGER.handle(self.record(addresses, **facts))

    def record(self, addresses: tuple[str | None, ...] | None = None, **facts: Any) -> logging.LogRecord:
        """Return what would be logged with these facts; they are those of `log`."""
        about = (ADDRESS.get(),) if addresses is None else addresses
        extra = {
            "event": self,
            "addresses": [address for address in about if address],
            "worker": WORKER.get(),
        }
        arguments = (facts,) if facts else ()
        return LOGGER.makeRecord(LOGGER.name, self.level, "", 0, self.text, arguments, None, extra=extra)


LISTENING: Final = Event(
    "listening",
    logging.INFO,
    "Relay listening on %(urls)s",
    "The relay serves clients. This line is written whatever --log-level says.",
    single=True,
    always=True,
)
PAGE: Final = Event(
    "page",
    logging.INFO,
    "page for browsers: %(urls)s",
    "Where the page is served (--web). This line is written whatever --log-level says.",
    single=True,
    always=True,
)
ADMIN: Final = Event(
    "admin",
    logging.INFO,
    "admin address: %(address)s",
    "Where status, metrics and orders are served (--admin).",
    single=True,
)
PAIR_ENDED: Final = Event(
    "pair-ended",
    logging.INFO,
    "pairing %(pairing)d ended: %(outcome)s, %(from_sender)s from the sender, %(from_receiver)s from the receiver, "
    "%(seconds)d s, %(rate)s/s",
    "A transfer is over: its number in `relay-admin`, how it ended, bytes (one significant digit), seconds, bytes "
    "per second. Whether it was "
    "complete, given up or met a wrong code is what the clients say.",
    single=True,
)
STOPPING: Final = Event(
    "stopping",
    logging.INFO,
    "stopping in %(seconds)d s at most, pairs running: %(pairings)d",
    "The relay was told to stop. Running transfers may go on for this time.",
    single=True,
)
STOPPED: Final = Event(
    "stopped",
    logging.INFO,
    "stopped: pairs served: %(served)d, %(copied)s copied, up for %(seconds)d s",
    "The relay's last line, with the sums of all transfers.",
    single=True,
)
CERTIFICATE_RELOADED: Final = Event(
    "certificate-reloaded",
    logging.INFO,
    "certificate reloaded, valid for %(days)d more days",
    "New connections get the certificate that the files hold now.",
    single=True,
)
CERTIFICATE_KEPT: Final = Event(
    "certificate-kept",
    logging.ERROR,
    "certificate not reloaded, the old one stays: %(why)s",
    "The new files cannot be used, for this reason.",
    single=True,
)
CERTIFICATE_REFUSED: Final = Event(
    "certificate-refused",
    logging.WARNING,
    "clients are likely to refuse the certificate: %(why)s",
    "Logged at the start and after each reload. A fault of the authority shows only if it is in the file, too.",
    single=True,
)
CERTIFICATE_EXPIRES: Final = Event(
    "certificate-expires",
    logging.WARNING,
    "the certificate expires in %(left)s: renew it",
    "Logged 14, 7 and 1 days before the end.",
    single=True,
)
CERTIFICATE_EXPIRED: Final = Event(
    "certificate-expired",
    logging.ERROR,
    "the certificate has expired: clients refuse this relay until it is renewed",
    "No client can start a transfer.",
    single=True,
)
CERTIFICATE_FOUND: Final = Event(
    "certificate-found",
    logging.INFO,
    "the certificate of the last time is in use, valid for %(left)s",
    "The relay gets its certificate by itself (--acme), and has started with the one that it had.",
    single=True,
)
ORDER_BEGUN: Final = Event(
    "order-begun",
    logging.INFO,
    "a certificate for %(names)s is ordered at %(directory)s",
    "The relay asks its authority (--acme-directory) for a first certificate, or for a new one in time.",
    single=True,
)
ORDER_RESUMED: Final = Event(
    "order-resumed",
    logging.INFO,
    "the order of a certificate for %(names)s at %(directory)s goes on",
    "The relay was stopped, or was to stop, while it ordered.",
    single=True,
)
ACCOUNT_MADE: Final = Event(
    "account-made",
    logging.INFO,
    "the authority %(directory)s has made an account for this relay%(terms)s",
    "Its key is in --acme-dir. By --acme the operator agrees to the authority's terms.",
    single=True,
)
CERTIFICATE_OBTAINED: Final = Event(
    "certificate-obtained",
    logging.INFO,
    "a new certificate for %(names)s is in use, valid for %(left)s",
    "The relay has got it by itself (--acme). Transfers that run go on.",
    single=True,
)
ORDER_FAILED: Final = Event(
    "order-failed",
    logging.ERROR,
    "no certificate: %(why)s The next try is in %(pause)s, failures in a row: %(failures)d",
    "An order failed, for this reason; what the authority says of it is in its own words. The relay serves on with the "
    "certificate that it has, and without one it tells clients so. `relay-admin ADDR reload` tries now.",
    single=True,
)
OTHER_ORDERS: Final = Event(
    "other-orders",
    logging.INFO,
    "another relay orders in %(folder)s, and this one waits for it",
    "Several relays have the same --acme-dir, and one orders at a time. The certificate is used here too if it is for "
    "the same names; if not, or if the other relay ends, this one orders.",
    single=True,
)
CERTIFICATE_LATE: Final = Event(
    "certificate-late",
    logging.WARNING,
    "the certificate expires in %(left)s, and could not be renewed yet",
    "Less than a sixth is left of the life of a certificate that the relay gets by itself. Other lines say why its "
    "tries failed.",
    single=True,
)
CHALLENGE_ANSWERED: Final = Event(
    "challenge-answered",
    logging.DEBUG,
    "an authority's check of the name was answered",
    "While an authority was to check a name of the relay somebody asked as only an authority does (acme-tls/1).",
)
TOKENS_RELOADED: Final = Event(
    "tokens-reloaded", logging.INFO, "tokens reloaded: %(count)d", "The file of tokens was read.", single=True
)
TOKENS_KEPT: Final = Event(
    "tokens-kept",
    logging.ERROR,
    "tokens not reloaded, the old ones stay: %(why)s",
    "The file of tokens cannot be used, for this reason.",
    single=True,
)
PROXY_HEADER_BROKEN: Final = Event(
    "proxy-header-broken",
    logging.WARNING,
    "a trusted proxy sent a broken PROXY header",
    "The connection was closed. Configure the proxy to send version 1 or 2 of the protocol, or none.",
)
STALLED: Final = Event(
    "stalled",
    logging.INFO,
    "pairing %(pairing)d stalls: %(why)s for %(seconds)d s",
    "Nothing of what a sender has for its receiver has moved for so long. The relay told both, and they wait on.",
)
WORKER_STARTED: Final = Event(
    "worker-started",
    logging.INFO,
    "worker started, as process %(pid)d",
    "A worker process of the relay is ready (--workers). The line has its number.",
    single=True,
)
WORKER_ENDED: Final = Event(
    "worker-ended",
    logging.INFO,
    "worker ended: pairs served: %(served)d, %(copied)s copied",
    "A worker that was to end has ended: the relay stops, or another worker has its place.",
    single=True,
)
WORKER_DIED: Final = Event(
    "worker-died",
    logging.ERROR,
    "worker died (%(how)s), and is started again in %(seconds)d s; clients there: %(clients)d",
    "A worker process ended though it should not. Its clients reconnect, and transfers go on where they were. If it "
    "was killed with signal 9 the machine may have too little memory; else please report it.",
    single=True,
)
WORKER_HANGS: Final = Event(
    "worker-hangs",
    logging.ERROR,
    "worker has not answered for %(seconds)d s, and is killed",
    "Its event loop stands still. It is started again, and its clients reconnect.",
    single=True,
)
WORKERS_KEPT: Final = Event(
    "workers-kept",
    logging.ERROR,
    "not all workers are replaced, the old ones stay: %(why)s",
    "A new worker could not be started, after SIGUSR2 or the order to upgrade.",
    single=True,
)
EXHAUSTED: Final = Event(
    "exhausted",
    logging.WARNING,
    "the system has no descriptor or memory left for one more connection",
    "New connections have to wait. Raise LimitNOFILE= or the like, or lower --max-connections.",
)
BUG: Final = Event(
    "bug",
    logging.ERROR,
    "a bug ended one connection: %(where)s",
    "Please report it. The relay and its other connections go on.",
)
RENEWAL_BUG: Final = Event(
    "renewal-bug",
    logging.ERROR,
    "a bug ended what renews the certificate, which goes on in %(seconds)d s: %(where)s",
    "Please report it. The relay serves on with the certificate that it has.",
    single=True,
)
DROPPED: Final = Event(
    "lines-dropped",
    logging.WARNING,
    "... lines dropped: %(count)d",
    "So many lines are missing here: no program read the log, or the disk was full. The relay went on meanwhile.",
    single=True,
    always=True,
)
WAITS: Final = Event("waits", logging.DEBUG, "a %(role)s waits", "A client came, and is the first of two.")
RETURNED: Final = Event(
    "returned",
    logging.DEBUG,
    "a %(role)s reconnected",
    "A client reconnected while the relay still held its old connection, which was closed.",
)
LEFT: Final = Event(
    "left", logging.DEBUG, "a client left while waiting", "A client left before the other one came."
)
PAIRED: Final = Event(
    "paired", logging.DEBUG, "pairing %(pairing)d begins", "Two clients are paired.", single=True
)
REFUSED: Final = Event(
    "refused", logging.DEBUG, "refused: %(code)s", "A client was refused, for this reason."
)
TURNED_AWAY: Final = Event(
    "turned-away",
    logging.DEBUG,
    "closed: too many %(what)s",
    "A connection was closed for a limit, before anything was read of it.",
)
NO_CLIENT: Final = Event(
    "no-client",
    logging.DEBUG,
    "no relay client",
    "The connection was no client's: a browser, a scanner, a check of the port.",
)
PAGE_SERVED: Final = Event(
    "page-served", logging.DEBUG, "served a file of the page", "A browser got a file of the page (--web)."
)
TOO_SLOW: Final = Event(
    "too-slow", logging.DEBUG, "too slow", "A connection was closed: it sent no hello in time."
)
GONE_EARLY: Final = Event(
    "gone-early",
    logging.DEBUG,
    "gone early: %(error)s",
    "A connection ended before it was a client, or its TLS handshake failed.",
)

EVENTS: Final = tuple(value for value in globals().values() if isinstance(value, Event))
"""All of them."""
