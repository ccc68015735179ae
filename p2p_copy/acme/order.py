"""One try: from an account and names to a certificate on disk."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio
from acme import messages
from cryptography.hazmat.primitives.asymmetric import ec

from p2p_copy.acme import limits
from p2p_copy.acme.authority import Authority, problem_words
from p2p_copy.acme.challenge import challenge_certificate
from p2p_copy.acme.failures import AuthorityFailed, NotShown, os_words
from p2p_copy.acme.interface import AccountMade, OrderBegun
from p2p_copy.acme.store import in_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cryptography import x509

    from p2p_copy.acme.interface import Challenges, Event
    from p2p_copy.acme.schedule import Window
    from p2p_copy.acme.settings import AcmeSettings
    from p2p_copy.acme.store import Account, Certificate, Order, Store

T = TypeVar("T")

_NO_ACCOUNT = "accountDoesNotExist"


class OrderProcess:
    """What every order of a relay needs: settings, disk, and the relay itself."""

    def __init__(
        self,
        settings: AcmeSettings,
        store: Store,
        challenges: Challenges,
        report: Callable[[Event], None],
        wall: Callable[[], float],
    ) -> None:
        """Do nothing yet."""
        self._wall = wall
        self._settings = settings
        self._store = store
        self._challenges = challenges
        self._report = report

    async def certificate(self, replaces: x509.Certificate | None, oldest: float) -> Certificate:
        """Order a certificate, or go on with an order that was begun. The store is locked by the caller.

        Args:
            replaces: the certificate that it renews, from the same authority; None for none.
            oldest: seconds after which an order that is still not decided is begun anew.

        Raises:
            AuthorityFailed: it could not be had.
            NotShown: the relay could not show a challenge.
            OSError: the disk failed.

        """
        account = await in_thread(self._store.account)
        with closing(Authority(self._settings, account.key)) as authority:
            await authority.connect()
            try:
                return await self._with_account(authority, account, replaces, oldest)
            except AuthorityFailed as failure:
                # An authority may forget accounts, and a staging authority does. Orders go with them.
                if failure.code != _NO_ACCOUNT or account.url is None:
                    raise
            await in_thread(self._store.save_account, None, None)
            await in_thread(self._store.drop_order)
            account = await in_thread(self._store.account)
            return await self._with_account(authority, account, replaces, oldest)

    async def renewal(self, leaf: x509.Certificate) -> tuple[Window | None, float | None]:
        """Return when the authority suggests to renew, and after how many seconds to ask again; None for no word.

        Raises:
            AuthorityFailed: it could not be asked.

        """
        key = ec.generate_private_key(ec.SECP256R1())  # signs nothing: anybody may ask
        with closing(Authority(self._settings, key)) as authority:
            await authority.connect()
            return await authority.renewal(leaf)

    async def _with_account(
        self, authority: Authority, account: Account, replaces: x509.Certificate | None, oldest: float
    ) -> Certificate:
        await self._use_account(authority, account)
        order, url, body = await self._order(authority, replaces, oldest)
        try:
            return await self._finish(authority, order, url, body)
        except AuthorityFailed as failure:
            # What was refused is ordered anew; what could not be asked, or not yet, goes on later.
            if failure.code is not None and failure.retry_after is None:
                await in_thread(self._store.drop_order)
            raise

    async def _use_account(self, authority: Authority, account: Account) -> None:
        email = self._settings.email
        if account.url is None:
            url = await authority.register()
            await in_thread(self._store.save_account, url, email)
            self._report(AccountMade(self._settings.directory, authority.terms))
            authority.use_account(url)
            return
        authority.use_account(account.url)
        if account.email != email:
            await authority.update_email(account.url)
            await in_thread(self._store.save_account, account.url, email)

    async def _order(
        self, authority: Authority, replaces: x509.Certificate | None, oldest: float
    ) -> tuple[Order, str, messages.Order]:
        """Return the order that runs, or a new one, with its address and how far it is."""
        order = await in_thread(self._store.order)
        if order is not None and order.url is not None:
            body = await self._standing(authority, order.url)
            is_old = self._wall() - order.begun > oldest
            if body is not None and (not is_old or body.status == messages.STATUS_VALID):
                self._report(OrderBegun(self._settings.names, self._settings.directory, resumed=True))
                return order, order.url, body
        order = await in_thread(self._store.new_order)
        self._report(OrderBegun(self._settings.names, self._settings.directory, resumed=False))
        url = await authority.new_order(replaces)
        await in_thread(self._store.save_order, url)
        return order, url, await authority.order(url)

    async def _standing(self, authority: Authority, url: str) -> messages.Order | None:
        """Return an order of an earlier process, None if the authority no longer has it or it has failed."""
        try:
            body = await authority.order(url)
        except AuthorityFailed as failure:
            if failure.code in (None, _NO_ACCOUNT):
                raise
            return None
        return None if body.status == messages.STATUS_INVALID else body

    async def _finish(
        self, authority: Authority, order: Order, url: str, body: messages.Order
    ) -> Certificate:
        if body.status == messages.STATUS_PENDING:
            for each in body.authorizations:
                await self._prove(authority, each)
            body = await self._poll(
                authority, partial(authority.order, url), limits.PROOF_TIMEOUT, _is_proved
            )
        if body.status == messages.STATUS_READY:
            await authority.finalize(body, order.key)
        body = await self._poll(authority, partial(authority.order, url), limits.ISSUE_TIMEOUT, _is_issued)
        if body.status != messages.STATUS_VALID or not body.certificate:
            why = problem_words(body.error) if body.error else "no reason is given"
            raise AuthorityFailed(f"The order has failed: {why}.", code=str(body.status))
        chain = await authority.chain(body.certificate)
        try:
            return await in_thread(self._store.complete, chain, self._wall())
        except ValueError as error:
            raise AuthorityFailed(
                f"The authority issued what cannot be used: {error}.", code="unusable"
            ) from None

    async def _prove(self, authority: Authority, url: str) -> None:
        """Prove that one name leads here."""
        body = await authority.authorization(url)
        if body.status == messages.STATUS_VALID:
            return
        name = str(body.identifier.value)
        if body.status == messages.STATUS_PENDING:
            challenge, key_authorization = authority.proof(body)
            try:
                await self._show(name, key_authorization)
                if challenge.status == messages.STATUS_PENDING:
                    await authority.answer(challenge)
                body = await self._poll(
                    authority, partial(authority.authorization, url), limits.PROOF_TIMEOUT, _is_decided
                )
            finally:
                with trio.CancelScope() as scope:
                    scope.shield, scope.deadline = True, trio.current_time() + limits.CLOSE_TIMEOUT
                    await self._challenges.close(name)
        if body.status != messages.STATUS_VALID:
            said = [problem_words(each.error) for each in body.challenges if each.error is not None]
            why = "; ".join(said) or f"the authorization is {body.status.name}"
            raise AuthorityFailed(
                f"The authority could not make sure that {name} leads here: {why}.", code="proof"
            )

    async def _show(self, name: str, key_authorization: str) -> None:
        try:
            await self._challenges.open(name, *challenge_certificate(name, key_authorization))
        except OSError as error:
            raise NotShown(f"The relay could not show the proof for {name}: {os_words(error)}.") from None

    async def _poll(
        self, authority: Authority, ask: Callable[[], Awaitable[T]], most: float, is_done: Callable[[T], bool]
    ) -> T:
        """Ask until it is done, for `most` seconds at most."""
        deadline, pause = trio.current_time() + most, limits.FIRST_POLL
        while True:
            body = await ask()
            if is_done(body):
                return body
            named = authority.retry_after
            wait = pause if named is None else max(named, limits.FIRST_POLL)
            if trio.current_time() + wait > deadline:
                raise AuthorityFailed(f"The authority has not decided within {most:.0f} s.", None, named)
            await trio.sleep(wait)
            pause = min(2 * pause, limits.LAST_POLL)


def _is_proved(order: messages.Order) -> bool:
    return order.status != messages.STATUS_PENDING


def _is_issued(order: messages.Order) -> bool:
    return order.status not in (messages.STATUS_PENDING, messages.STATUS_READY, messages.STATUS_PROCESSING)


def _is_decided(authorization: messages.Authorization) -> bool:
    return authorization.status != messages.STATUS_PENDING
