"""Keeps a certificate valid, for years: serves what exists, orders in time, and survives every failure.

Rules:
1. Nothing that an authority, a network, a disk or the relay does ends `run`.
2. A failure is followed by a pause that grows, also over restarts, and no try comes before the authority's Retry-After.
3. The end of a certificate is a time of day. Pauses go by the clock of the event loop, which nobody sets.
4. While the relay drains there is no order.
5. Who orders has the folder locked. Who finds it locked waits, and uses what comes of it.
"""

from __future__ import annotations

import math
import random
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from p2p_copy.acme import limits, schedule
from p2p_copy.acme.failures import AuthorityFailed, NotTaken, TryFailure, os_words
from p2p_copy.acme.interface import (
    CertificateFound,
    CertificateObtained,
    OtherOrders,
    Status,
    TryFailed,
)
from p2p_copy.acme.store import Store, Tries, Wanted, in_thread
from p2p_copy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from p2p_copy.acme.interface import Challenges, Event, OnCertificate
    from p2p_copy.acme.schedule import Window
    from p2p_copy.acme.settings import AcmeSettings
    from p2p_copy.acme.store import Certificate


class CertificateKeeper:
    """Keeps one certificate valid. `run` does the work; the other methods return at once, in the event loop."""

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
        try:
            from p2p_copy.acme.order import OrderProcess
        except ImportError as error:
            raise UsageError(
                f"`acme` needs further libraries ({error}). Install them with: pip install 'p2p-copy[acme]'"
            ) from None
        self._settings = settings
        self._wanted = Wanted.by(settings)
        self._store = Store(settings)
        self._process = OrderProcess(settings, self._store, challenges, report, wall)
        self._on_certificate = on_certificate
        self._report = report
        self._wall = wall
        self._current: Certificate | None = None
        self._window: Window | None = None
        self._choice = random.random()  # noqa: S311 - spreads renewals, and hides nothing
        self._tries = Tries()
        self._pause_ends = -math.inf  # here and below: times of the event loop
        self._not_before = -math.inf
        self._ask_renewal = -math.inf
        self._refused: Certificate | None = None  # the newest one, which the relay does not take
        self._next: float | None = None
        self._trying: trio.CancelScope | None = None
        self._drains = False
        self._wake = trio.Event()

    @property
    def status(self) -> Status:
        """What is known now."""
        current = self._current
        return Status(
            names=self._settings.names,
            valid_from=current.validity.begins if current else None,
            expires=current.validity.ends if current else None,
            last_try=self._tries.last,
            next_try=self._next,
            failures=self._tries.failures,
            last_error=self._tries.error,
        )

    def try_now(self) -> None:
        """Try at once what waits for a pause after a failure, look into the folder, and ask whether to renew early.

        A certificate that need not be renewed is not, and what the authority asked to wait for is waited for.
        """
        self._pause_ends = self._ask_renewal = -math.inf
        self._wake.set()

    def pause(self) -> None:
        """Begin no order, and leave one that runs: the relay drains, so nobody could prove a name.

        An order that is left goes on when this relay resumes, or the next one that uses the folder starts.
        """
        self._drains = True
        if self._trying is not None:
            self._trying.cancel()
        self._wake.set()

    def resume(self) -> None:
        """Order again, after `pause`."""
        self._drains = False
        self._wake.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve what is in the folder at once, then order and renew, until cancelled.

        It has started once what is in the folder is in use; nothing is ordered before that.

        It raises for no failure of authority, network, disk or relay: each is reported, and a later try follows.
        """
        await self._begin()
        task_status.started()
        while True:
            self._wake = trio.Event()
            delay = math.inf
            if self._delay() > 0:
                await self._ask_when_to_renew()
            if not self._drains:
                delay = self._delay()
                if delay <= 0:
                    await self._try()
                    continue
            self._next = self._wall() + delay if delay < math.inf else None
            # While the relay drains no question is asked, so one may be overdue.
            asks = math.inf if self._drains else self._until_question()
            with trio.move_on_after(max(min(delay, asks, limits.LOOK_INTERVAL), 0)):
                await self._wake.wait()
            await self._look()

    # What exists

    async def _begin(self) -> None:
        """Take into use what is in the folder, and remember how the last tries went."""
        with suppress(OSError):  # the first try says what is wrong with the folder
            self._tries = await in_thread(self._store.tries)
            for certificate in await in_thread(self._store.certificates):
                if await self._use(certificate):
                    self._report(CertificateFound(certificate.validity.ends))
                    break
        now, wall = trio.current_time(), self._wall()
        if self._tries.failures:
            self._pause_ends = now + min(self._tries.after - wall, limits.RESTART_PAUSE)
            self._not_before = now + min(self._tries.not_before - wall, limits.MOST_RETRY_AFTER)

    async def _look(self) -> bool:
        """Use a certificate that another process has put into the folder; return whether there was one."""
        try:
            newest = next(iter(await in_thread(self._store.certificates)), None)
        except OSError:
            return False
        known = max((each.number for each in (self._current, self._refused) if each), default=0)
        if newest is None or newest.number <= known or not await self._use(newest):
            return False
        self._succeeded()
        self._report(CertificateObtained(newest.wanted.names, newest.validity.ends))
        return True

    async def _use(self, certificate: Certificate) -> bool:
        taken = await self._on_certificate(certificate.chain_file, certificate.key_file)
        if self._refused is None or certificate.number >= self._refused.number:
            self._refused = None if taken else certificate
        if taken:
            self._current = certificate
            self._window, self._ask_renewal = None, -math.inf
            self._choice = random.random()  # noqa: S311 - as above
        return taken

    def _succeeded(self) -> None:
        self._tries = Tries(last=self._tries.last)
        self._pause_ends = self._not_before = -math.inf

    # When

    def _delay(self) -> float:
        """Return the seconds until the next order; it is due if they are none."""
        now, wall = trio.current_time(), self._wall()
        held = max(self._pause_ends, self._not_before) - now
        current = self._current
        if current is None or current.wanted != self._wanted:
            return held
        due = schedule.order_time(current.validity, current.obtained, self._window, self._choice, wall)
        return max(held, due - wall)

    async def _ask_when_to_renew(self) -> None:
        """Ask the authority when to renew, if it is time to; without an answer the schedule goes by the life alone."""
        current = self._current
        now = trio.current_time()
        if current is None or max(self._ask_renewal, self._not_before) > now:
            return
        named = None
        if current.wanted == self._wanted and self._wall() < current.validity.ends:
            try:
                self._window, named = await self._process.renewal(current.leaf)
            except AuthorityFailed as failure:
                named = failure.retry_after
        self._ask_renewal = trio.current_time() + schedule.ari_interval(named, current.validity)

    def _until_question(self) -> float:
        """Return the seconds until the authority is to be asked when to renew."""
        if self._current is None:
            return math.inf
        return max(self._ask_renewal, self._not_before) - trio.current_time()

    # A try

    async def _try(self) -> None:
        self._next = None
        with trio.CancelScope() as self._trying:
            try:
                await in_thread(self._store.make)
                async with self._locked():
                    await self._order()
            except TryFailure as failure:
                await self._failed(str(failure), failure.retry_after)
            except OSError as error:
                await self._failed(f"The folder '{self._settings.folder}' cannot be used: {os_words(error)}.")
        self._trying = None

    async def _order(self) -> None:
        """Get a certificate, unless another process has got one meanwhile, and take it into use."""
        if await self._look() and self._delay() > 0:
            return
        self._tries = replace(self._tries, last=self._wall())
        if self._refused and self._is_young(self._refused):
            await self._take(self._refused)
            return
        current = self._current
        replaces = current if current and current.wanted.directory == self._wanted.directory else None
        certificate = await self._process.certificate(replaces.leaf if replaces else None)
        await self._take(certificate)

    def _is_young(self, refused: Certificate) -> bool:
        """Return whether a certificate that the relay refused is to be offered again, in place of a new order.

        The cause may be the relay's, and a new certificate would be no better.
        """
        again = refused.obtained + min(schedule.least_gap(refused.validity.life), limits.DAY)
        return refused.wanted == self._wanted and self._wall() < min(again, refused.validity.ends)

    async def _take(self, certificate: Certificate) -> None:
        if not await self._use(certificate):
            raise NotTaken("The new certificate could not be taken into use; the log of the relay says why.")
        self._succeeded()
        await self._remember()
        self._report(CertificateObtained(self._settings.names, certificate.validity.ends))
        with suppress(OSError):
            await in_thread(self._store.discard_old, certificate)

    async def _failed(self, why: str, retry_after: float | None = None) -> None:
        now, wall = trio.current_time(), self._wall()
        failures = self._tries.failures + 1
        validity = self._current.validity if self._current else None
        chance = random.random()  # noqa: S311 - as above
        self._pause_ends = now + schedule.pause(failures, validity, wall, chance)
        if retry_after is not None:
            self._not_before = now + retry_after
        due = wall + max(self._pause_ends, self._not_before) - now
        self._tries = Tries(self._tries.last, failures, why, due, wall + max(self._not_before - now, 0))
        await self._remember()
        self._report(TryFailed(why, due, failures, validity.ends if validity else None))

    async def _remember(self) -> None:
        """Keep for the next start how the last try went, if the disk lets us."""
        with suppress(OSError), trio.move_on_after(limits.REMEMBER_TIMEOUT):
            await in_thread(self._store.save_tries, self._tries)

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Have the folder for this process alone; wait for another one that has it."""
        waits = False
        while (lock := await in_thread(self._store.try_lock)) is None:
            if not waits:
                self._report(OtherOrders(self._settings.folder))
                waits = True
            await trio.sleep(limits.LOCK_INTERVAL)
        try:
            await in_thread(self._store.sweep)
            yield
        finally:
            self._store.unlock(lock)
