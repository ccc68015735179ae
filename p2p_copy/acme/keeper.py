"""Keeps a certificate valid, for years: serves what exists, orders in time, and survives every failure."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from p2p_copy.acme.interface import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_copy.acme.interface import Challenges, Event, OnCertificate
    from p2p_copy.acme.settings import AcmeSettings


class CertificateKeeper:
    """Keeps one certificate valid. `run` does the work; the other methods return at once.

    Attributes:
        status: what is known now.

    """

    status: Status

    def __init__(
        self,
        settings: AcmeSettings,
        challenges: Challenges,
        on_certificate: OnCertificate,
        report: Callable[[Event], None],
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Touch nothing yet.

        Args:
            settings: which certificate, from whom, and where to keep it.
            challenges: shows the authority that a name leads here.
            on_certificate: takes a new certificate into use, or refuses it.
            report: is called for each event, in the event loop.
            wall: the time of day, as Unix time.

        Raises:
            UsageError: the extra `p2p-copy[acme]` is not installed.

        """

    async def run(self) -> None:
        """Serve what is in the folder at once, then order and renew, until cancelled.

        It raises for no failure of authority, network, disk or relay: each is reported, and a later try follows.
        """

    def try_now(self) -> None:
        """Try at once what waits for a pause after a failure, look into the folder, and ask whether to renew early.

        A certificate that need not be renewed is not, and what the authority asked to wait for is waited for.
        """

    def pause(self) -> None:
        """Begin no order, and leave one that runs: the relay drains, so nobody could prove a name.

        An order that is left goes on when this relay resumes, or the next one that uses the folder starts.
        """

    def resume(self) -> None:
        """Order again, after `pause`."""
