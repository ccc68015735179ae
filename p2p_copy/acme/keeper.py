"""Keeps a certificate valid, for years: serves what exists, orders in time, and survives every failure.

Rules:
1. Nothing that an authority, a network, a disk or the relay does ends `run`.
2. A failure is followed by a pause that grows, also over restarts, and no try comes before the authority's Retry-After.
3. The end of a certificate is a time of day. Pauses go by the clock of the event loop, which nobody sets.
4. While the relay drains there is no order.
5. Who orders has the folder locked. Who finds it locked waits, and uses what comes of it.
6. Certificates for something else, which another relay may have in the folder, are used only at the start, and only
   until there is a wanted one.
7. A try is on disk as a failed one before it begins, so a process that dies in each of its tries makes longer and
   longer pauses as well.
"""

from __future__ import annotations

import math
import random
import time
import traceback
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from p2p_copy.acme import limits, schedule
from p2p_copy.acme.failures import AuthorityFailed, NotTaken, TryFailure, os_words, words
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
    from collections.abc import AsyncIterator, Callable, Iterable

    from p2p_copy.acme.interface import Challenges, Event, OnCertificate
    from p2p_copy.acme.schedule import Window
    from p2p_copy.acme.settings import AcmeSettings
    from p2p_copy.acme.store import Certificate

_UNFINISHED: Final = "The relay ended in the middle of this try."
"""What is on disk as the error of a try that runs."""


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
        self._refused: Certificate | None = None  # the newest wanted one, which the relay does not take
        self._next: float | None = None
        self._trying: trio.CancelScope | None = None
        self._again = False  # asked for while a try ran
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
            is_wanted=self._is_wanted(current),
        )

    def try_now(self) -> None:
        """Try at once what waits for a pause after a failure, look into the folder, and ask whether to renew early.

        A certificate that need not be renewed is not, and what the authority asked to wait for is waited for.
        """
        self._pause_ends = self._ask_renewal = -math.inf
        self._again = self._trying is not None  # its failure is no word about what has been mended since
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
            found = await in_thread(self._store.certificates)
            wanted = [each for each in found if self._is_wanted(each)]
            # Another one is better than none: the names may have been changed, and clients know the old ones.
            others = [each for each in found if not self._is_wanted(each)]
            taken = await self._offer(wanted) or await self._offer(others)
            if taken is not None:
                self._report(CertificateFound(taken.validity.ends))
            if self._tries.error == _UNFINISHED:
                # The disk may have been too full to say how it ended, and another process may be in it.
                begun = self._tries.last or 0.0
                if any(each.obtained >= begun for each in wanted) or await self._is_locked():
                    self._succeeded()
        now, wall = trio.current_time(), self._wall()
        self._pause_ends = now + min(self._tries.after - wall, limits.RESTART_PAUSE)
        self._not_before = now + min(self._tries.not_before - wall, limits.MOST_RETRY_AFTER)

    async def _is_locked(self) -> bool:
        lock = self._store.lock()
        try:
            return not await in_thread(lock.take)
        finally:
            lock.give_up()

    async def _look(self) -> bool:
        """Use a certificate that another process has put into the folder; return whether there was one.

        One that the relay refused is offered again: the clock may have been wrong then, or the disk too slow.
        """
        try:
            found = await in_thread(self._store.certificates)
        except OSError:
            return False
        known = self._current.number if self._current and self._is_wanted(self._current) else 0
        usable = [each for each in found if self._is_wanted(each) and self._wall() < each.validity.ends]
        taken = await self._offer(each for each in usable if each.number > known)
        if taken is None:
            return False
        self._succeeded()
        self._report(CertificateObtained(taken.wanted.names, taken.validity.ends))
        return True

    def _is_wanted(self, certificate: Certificate | None) -> bool:
        return certificate is not None and certificate.wanted == self._wanted

    async def _offer(self, certificates: Iterable[Certificate]) -> Certificate | None:
        """Return the first one that the relay takes into use."""
        for certificate in certificates:
            if await self._use(certificate):
                return certificate
        return None

    async def _use(self, certificate: Certificate) -> bool:
        taken = await self._on_certificate(certificate.chain_file, certificate.key_file)
        newest = self._refused.number if self._refused else 0
        if self._is_wanted(certificate) and certificate.number >= newest:
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
        if current is None or not self._is_wanted(current):
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
        if self._is_wanted(current) and self._wall() < current.validity.ends:
            try:
                self._window, named = await self._process.renewal(current.leaf)
            except AuthorityFailed as failure:
                named = failure.retry_after
                await self._hold(named)
            except Exception:  # noqa: S110 - an answer may have any form, and the life alone is enough to go by
                pass
        self._ask_renewal = trio.current_time() + schedule.ari_interval(named, current.validity)

    async def _hold(self, named: float | None) -> None:
        """Ask nothing and order nothing for the seconds that an authority named as it refused, also after a restart."""
        if named is not None:
            self._not_before = trio.current_time() + named
            self._tries = replace(self._tries, not_before=self._wall() + named)
            await self._remember(self._tries)

    def _until_question(self) -> float:
        """Return the seconds until the authority is to be asked when to renew."""
        if self._current is None:
            return math.inf
        return max(self._ask_renewal, self._not_before) - trio.current_time()

    # A try

    async def _try(self) -> None:
        self._next, self._again = None, False
        with trio.CancelScope() as self._trying:
            try:
                await in_thread(self._store.make)
                async with self._locked():
                    await self._order()
            except TryFailure as failure:
                await self._failed(str(failure), failure.retry_after)
            except OSError as error:
                await self._failed(f"The folder '{self._settings.folder}' cannot be used: {os_words(error)}.")
            except Exception as error:  # a member that the answer lacks, for one
                await self._failed(
                    f"The authority's answer, or an error of the relay, ended the try: {_where(error)}."
                )
        self._trying = None

    async def _order(self) -> None:
        """Get a certificate, unless another process has got one meanwhile, and take it into use."""
        if await self._look() and self._delay() > 0:
            return
        self._tries = replace(self._tries, last=self._wall())
        if self._refused and self._is_young(self._refused):
            raise NotTaken(
                "The newest certificate could not be taken into use; the log of the relay says why."
            )
        current = self._current
        replaced = None
        if current and current.wanted.directory == self._wanted.directory:
            # Only what has a name in common is replaced (RFC 9773, section 5); the rest may be another relay's.
            replaced = current if set(current.wanted.names) & set(self._wanted.names) else None
        life = current.validity.life if current else None
        async with self._recorded():
            certificate = await self._process.certificate(
                replaced.leaf if replaced else None, schedule.oldest_order(life)
            )
        await self._take(certificate)

    @asynccontextmanager
    async def _recorded(self) -> AsyncIterator[None]:
        """Have this try on disk as a failed one, as long as it runs."""
        failures = self._tries.failures + 1
        due = self._wall() + self._pause(failures)
        await self._remember(replace(self._tries, failures=failures, error=_UNFINISHED, after=due))
        try:
            yield
        except trio.Cancelled:
            with trio.CancelScope() as scope:
                scope.shield, scope.deadline = True, trio.current_time() + limits.CLOSE_TIMEOUT
                await self._remember(self._tries)
            raise

    def _is_young(self, refused: Certificate) -> bool:
        """Return whether a certificate that the relay refused is too young for a new order.

        The cause may be the relay's, and a new certificate would be no better.
        """
        again = refused.obtained + min(schedule.least_gap(refused.validity.life), limits.DAY)
        return self._wall() < min(again, refused.validity.ends)

    async def _take(self, certificate: Certificate) -> None:
        if not await self._use(certificate):
            raise NotTaken("The new certificate could not be taken into use; the log of the relay says why.")
        self._succeeded()
        await self._remember(self._tries)
        self._report(CertificateObtained(self._settings.names, certificate.validity.ends))
        with suppress(OSError):
            await in_thread(self._store.discard_old, certificate)

    async def _failed(self, why: str, retry_after: float | None = None) -> None:
        now, wall = trio.current_time(), self._wall()
        failures = self._tries.failures + 1
        validity = self._current.validity if self._current else None
        self._pause_ends = now + (0 if self._again else self._pause(failures))
        if retry_after is not None:
            self._not_before = now + retry_after
        due = wall + max(self._pause_ends, self._not_before) - now
        self._tries = Tries(self._tries.last, failures, why, due, wall + max(self._not_before - now, 0))
        await self._remember(self._tries)
        self._report(TryFailed(why, due, failures, validity.ends if validity else None))

    def _pause(self, failures: int) -> float:
        validity = self._current.validity if self._current else None
        chance = random.random()  # noqa: S311 - as above
        return schedule.pause(failures, validity, self._wall(), chance)

    async def _remember(self, tries: Tries) -> None:
        """Keep for the next start how the last try went, if the disk lets us."""
        with suppress(OSError), trio.move_on_after(limits.REMEMBER_TIMEOUT):
            await in_thread(self._store.save_tries, tries)

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Have the folder for this process alone; wait for another one that has it."""
        lock, waits = self._store.lock(), False
        try:
            while not await in_thread(lock.take):
                if not waits:
                    self._report(OtherOrders(self._settings.folder))
                    waits = True
                await trio.sleep(limits.LOCK_INTERVAL)
            await in_thread(self._store.sweep)
            yield
        finally:
            lock.give_up()


def _where(error: Exception) -> str:
    """Return what an error that nobody expected says, and where it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return words(f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})")
