"""Replaces the certificate for new connections while the relay runs.

Rules:
1. A new certificate is in use only after a handshake has shown that it works. After any failure the old one stays, and
   the log has one line that says why.
2. A reload changes a reference and nothing else: connections keep the context that they began with.
3. While the relay runs, files are read outside the event loop, which does not wait for a disk that does not answer.
4. A certificate that this program orders by itself may be missing at first. Then clients get an alert of TLS that says
   so, and the relay runs on: its end would only make a service manager start it again, and order again.
"""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from p2p_copy.acme.interface import NEAR_END
from p2p_copy.errors import CannotListen
from p2p_copy.relay import limits
from p2p_copy.relay.entry.http_upgrade import refuse_plain
from p2p_copy.relay.entry.tls import fingerprint, no_certificate, server_context
from p2p_copy.relay.file_thread import DoesNotAnswer, FileThread, count_hang
from p2p_copy.relay.log import events
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.transport.tls import TLS_HANDSHAKE, TLSStream
from p2p_copy.units import duration
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from p2p_copy.relay.entry.challenges import Challenge
    from p2p_copy.relay.entry.tls import Fingerprint, Proven
    from p2p_copy.relay.log.abuse import AbuseCounter
    from p2p_copy.transport.tcp import TCPStream

_DAY: Final = 24 * 3600

_FILES: Final = "Certificate and key"


class Certificates:
    """A certificate with its key, from two PEM files.

    Attributes:
        context: the TLS context for the next handshake.
        digest: SHA-256 of the certificate in it; empty without one.
        expires: Unix time at which the certificate ends; None without one.
        challenge: shows an authority that the relay has its name; None if this program does not order certificates.
        on_changed: is called when a change of the files has brought another certificate.

    """

    context: ssl.SSLContext
    digest: str
    expires: float | None

    def __init__(
        self,
        certfile: str | None,
        keyfile: str | None,
        abuse: AbuseCounter,
        challenge: Challenge | None = None,
    ) -> None:
        """Load the files, which may wait for their disk; `abuse` counts a disk that does not answer later.

        With `challenge` this program orders the certificate: there may be no files until `use` names some, and a
        worker that starts later goes without a certificate if they have become unusable.

        Raises:
            CannotListen: they cannot be used, and what is wrong with them.

        """
        self.challenge = challenge
        self._abuse = abuse
        self._certfile = certfile
        self._keyfile = keyfile
        self._warned: float = (
            math.inf
        )  # seconds before the end of the last warning; infinite before the first
        self._reloading = trio.Lock()
        self._thread = FileThread()
        self._hangs = False  # the disk does not answer, and the log has said so
        self.on_changed: Callable[[], None] = lambda: None
        self.context, self.digest, self.expires, self._objection = no_certificate(), "", None, ""
        self._life = 0.0  # seconds from the certificate's beginning to its end
        self._seen = self._fingerprint()
        try:
            if certfile is not None:
                self._put(server_context(certfile, keyfile))
        except CannotListen as error:
            if challenge is None:
                raise
            events.CERTIFICATE_KEPT.log(why=str(error))

    def _put(self, proven: Proven) -> None:
        if proven.expires != self.expires:
            self._warned = math.inf
        self.context, self.digest, begins, self.expires, self._objection = proven
        self._life = proven.expires - begins

    async def use(self, certfile: str, keyfile: str) -> bool:
        """Use the certificate in these files from now on; return whether they could be used. If not, the log says why.

        What is used already stays then.
        """
        former = self._certfile, self._keyfile
        self._certfile, self._keyfile = certfile, keyfile
        if await self._reload():
            return True
        self._certfile, self._keyfile = former
        return False

    async def reload(self) -> bool:
        """Read the files as they are now; return whether they could be used. If not, the log says why.

        A certificate that this program orders does not change in its files.
        """
        return self.challenge is not None or await self._reload()

    async def _reload(self) -> bool:
        try:
            await self._replace()
        except CannotListen as error:
            count_hang(error, self._abuse)
            events.CERTIFICATE_KEPT.log(why=str(error))
            return False
        return True

    async def reload_if_changed(self) -> None:
        """Reload if a file has changed since it was read last. After a failure this waits for the next change.

        A disk that does not answer is logged once, and again only after it has answered.
        """
        try:
            if await self._thread.run(_FILES, self._fingerprint) != self._seen:
                await self._replace()
                self.on_changed()
        except CannotListen as error:
            count_hang(error, self._abuse)
            if not (self._hangs and isinstance(error, DoesNotAnswer)):
                events.CERTIFICATE_KEPT.log(why=str(error))
            self._hangs = isinstance(error, DoesNotAnswer)
        else:
            self._hangs = False

    async def _replace(self) -> None:
        async with self._reloading:
            self._seen, proven = await self._thread.run(_FILES, self._load)
            if isinstance(proven, CannotListen):
                raise proven
            self._put(proven)
            if self.challenge is None:  # else its keeper says so
                events.CERTIFICATE_RELOADED.log(days=round((proven.expires - time.time()) / _DAY))
        self.log_objection()
        self.warn_of_end()

    def _load(self) -> tuple[tuple[Fingerprint, ...], Proven | CannotListen]:
        """Return the fingerprints of the files, and their certificate or what is wrong with it."""
        # The fingerprints come first: a change of the files from now on leads to another load.
        seen = self._fingerprint()
        try:
            return seen, server_context(self._certfile or "", self._keyfile)
        except CannotListen as error:
            return seen, error

    def log_objection(self) -> None:
        """Log why clients are likely to refuse the certificate, if they are."""
        if self._objection:
            events.CERTIFICATE_REFUSED.log(why=self._objection)

    def warn_of_end(self) -> None:
        """Log that the end is near, once for each of `limits.CERTIFICATE_WARNINGS`.

        A certificate that is ordered here may live for days only: a warning comes when a sixth of its life is left.
        """
        if self.expires is None:
            return
        left = self.expires - time.time()
        marks: list[float] = [days * _DAY for days in limits.CERTIFICATE_WARNINGS]
        if self.challenge is not None:
            marks = [self._life * NEAR_END]
        passed = [mark for mark in (*marks, 0) if left <= mark]
        if not passed or min(passed) >= self._warned:
            return
        self._warned = min(passed)
        if left <= 0:
            events.CERTIFICATE_EXPIRED.log()
        elif self.challenge is not None:
            events.CERTIFICATE_LATE.log(left=duration(left, rough=True))
        else:
            events.CERTIFICATE_EXPIRES.log(left=_time_left(left / _DAY))

    async def watch(self, *, files: bool) -> None:
        """Warn when the end is near, and if `files` reload when the files change, until cancelled."""
        self.log_objection()
        while True:
            self.warn_of_end()
            await trio.sleep(limits.CERTIFICATE_CHECK_INTERVAL)
            if files and self.challenge is None:
                await self.reload_if_changed()

    def _fingerprint(self) -> tuple[Fingerprint, ...]:
        return tuple(fingerprint(file) for file in (self._certfile, self._keyfile) if file is not None)


class Opened(NamedTuple):
    """A client's stream, over TLS if this relay uses TLS, and the digest of the certificate that was shown to it."""

    stream: trio.abc.Stream
    certificate: str = ""


async def secured(stream: TCPStream, certificates: Certificates | None, abuse: AbuseCounter) -> Opened | None:
    """Begin TLS with a client if this relay uses TLS; None if it does and the client does not.

    The deadline is the caller's.
    """
    if certificates is None:
        return Opened(stream)
    first = await stream.peek()
    if first and first[0] != TLS_HANDSHAKE:
        await refuse_plain(stream)
        return None
    if certificates.challenge and await certificates.challenge.answer(stream):
        return None
    digest = certificates.digest
    secure = TLSStream(stream, certificates.context, server_side=True)
    secure.on_waste = partial(abuse.count, Abuse.TLS_WASTE)
    await secure.handshake()
    return Opened(secure, digest)


def _time_left(days: float) -> str:
    """Return a time that is left, rounded down."""
    number, unit = (int(days), "day") if days >= 1 else (int(days * 24), "hour")
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
