"""A keeper with pebble and caddy, and what an authority may do to it."""

from __future__ import annotations

import json
import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import trio
import trustme
from cryptography import x509

from p2p_copy.acme import limits
from p2p_copy.acme.authority import renewal_id
from p2p_copy.acme.interface import (
    AccountMade,
    CertificateFound,
    CertificateObtained,
    OrderBegun,
    OtherOrders,
    TryFailed,
)
from tests.acme.helpers import Operator, Wall, first_certificate, settings
from tests.contrib.programs import free_port
from tests.support.acme_authorities import (
    EAB_KEY,
    EAB_KID,
    NAME,
    Answer,
    Gate,
    Request,
    Served,
    Watch,
    between,
    caddy,
    pebble,
    with_renewal_info,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def easy(tmp_path: Path) -> Iterator[Served]:
    """A pebble that believes every proof."""
    with pebble(tmp_path / "pebble", any_proof=True) as served:
        yield served


def leaf_of(operator: Operator) -> x509.Certificate:
    return x509.load_pem_x509_certificate(operator.used[-1][0].read_bytes())


def names_of(operator: Operator) -> set[str]:
    names = leaf_of(operator).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    }


NEW_ORDER, FINALIZE, CERTIFICATE = "order-plz", "finalize-order", "certZ"


async def failed(operator: Operator) -> TryFailed:
    """Return the first failure; a certificate before it is one of the test."""
    async with operator.running():
        event = await operator.until(TryFailed)
    assert not operator.used
    return event


# The first certificate


@pytest.mark.slow  # a real proof, with the pauses of both sides
async def test_the_first_certificate_for_a_name_that_is_proved(tmp_path: Path) -> None:
    with pebble(tmp_path / "pebble") as served:
        operator = Operator(settings(served, tmp_path / "acme"), tmp_path)
        await first_certificate(operator, served.tls_port)
    assert [type(event) for event in operator.events] == [AccountMade, OrderBegun, CertificateObtained]
    assert operator.responder.opened == operator.responder.closed == [NAME]
    assert names_of(operator) == {NAME}
    assert operator.keeper.status.expires == pytest.approx(leaf_of(operator).not_valid_after_utc.timestamp())
    assert operator.keeper.status.failures == 0


@pytest.mark.slow  # three names are proved, and pebble refuses three of five nonces
async def test_bad_nonces_and_several_names_and_an_address(tmp_path: Path) -> None:
    wanted = ("relay.example", "other.example", "127.0.0.1")
    with pebble(tmp_path / "pebble", bad_nonces=60) as served:
        operator = Operator(settings(served, tmp_path / "acme", *wanted), tmp_path)
        await first_certificate(operator, served.tls_port)
    assert set(operator.responder.opened) == names_of(operator) == set(wanted)
    assert operator.responder.opened == operator.responder.closed


@pytest.mark.slow  # caddy makes its own authority first
async def test_caddy_as_the_authority(tmp_path: Path) -> None:
    try:
        with trio.socket.socket() as sock:
            await sock.bind(("127.0.0.1", 443))
    except OSError:
        pytest.skip("caddy looks for proofs at port 443, which cannot be used here")
    with caddy(tmp_path / "caddy") as served:
        operator = Operator(settings(served, tmp_path / "acme", "localhost"), tmp_path)
        await first_certificate(operator, served.tls_port)
    assert names_of(operator) == {"localhost"}


async def test_a_proof_that_fails_is_told_in_the_authoritys_own_words(tmp_path: Path) -> None:
    with pebble(tmp_path / "pebble") as served:  # nobody answers at its port for proofs
        operator = Operator(settings(served, tmp_path / "acme"), tmp_path)
        event = await failed(operator)
    assert f"could not make sure that {NAME} leads here" in event.why
    assert "onnect" in event.why  # what pebble says of a port where nobody listens
    assert operator.responder.opened == operator.responder.closed == [NAME]
    status = operator.keeper.status
    assert (status.failures, status.last_error, status.expires) == (1, event.why, None)
    assert status.needs_attention(time.time())


# Accounts


@pytest.mark.parametrize(
    ("kid", "key", "words"),
    [
        (None, None, "externalAccountRequired"),
        (EAB_KID, "d3Jvbmc", "unauthorized"),
        ("kid-9", EAB_KEY, "unauthorized"),
    ],
)
async def test_an_external_account_that_is_missing_or_wrong(
    tmp_path: Path, kid: str | None, key: str | None, words: str
) -> None:
    with pebble(tmp_path / "pebble", eab=True, any_proof=True) as served:
        operator = Operator(settings(served, tmp_path / "acme", eab_kid=kid, eab_key=key), tmp_path)
        event = await failed(operator)
    assert words in event.why
    assert EAB_KEY not in event.why


async def test_an_external_account_that_is_right(tmp_path: Path) -> None:
    with pebble(tmp_path / "pebble", eab=True, any_proof=True) as served:
        chosen = settings(served, tmp_path / "acme", eab_kid=EAB_KID, eab_key=EAB_KEY)
        await first_certificate(Operator(chosen, tmp_path))


async def test_an_authority_that_forgot_the_account_gets_another_one(tmp_path: Path) -> None:
    port = free_port()
    for number in range(2):
        with pebble(tmp_path / "pebble", port=port, any_proof=True) as served:  # it forgets all when it ends
            operator = Operator(settings(served, tmp_path / "acme", f"{number}.example"), tmp_path)
            await first_certificate(operator)
            assert len(operator.seen(AccountMade)) == 1
            assert len(operator.seen(CertificateFound)) == number


async def test_an_account_is_used_again_and_told_another_email_address(tmp_path: Path, easy: Served) -> None:
    watch = Watch()
    with between(easy, tmp_path, watch) as served:
        for number, email in enumerate((None, "me@relay.example", "me@relay.example", None)):
            chosen = settings(served, tmp_path / "acme", f"{number}.example", email=email)
            await first_certificate(Operator(chosen, tmp_path))
    assert len(watch.asked("sign-me-up")) == 1
    assert [each["contact"] for each in watch.asked("my-account")] == [["mailto:me@relay.example"], []]


# What exists


async def test_what_exists_is_in_use_before_the_authority_is_asked(tmp_path: Path, easy: Served) -> None:
    await first_certificate(Operator(settings(easy, tmp_path / "acme"), tmp_path))
    gone = Served(f"https://127.0.0.1:{free_port()}/dir", easy.ca_file, 0)
    operator = Operator(settings(gone, tmp_path / "acme"), tmp_path)  # and another authority is wanted
    async with operator.running():
        await operator.until(TryFailed)
    assert [type(event) for event in operator.events] == [CertificateFound, TryFailed]
    assert len(operator.used) == 1
    assert operator.keeper.status.expires is not None
    assert operator.keeper.status.needs_attention(time.time())


async def test_a_certificate_for_other_names_is_used_and_replaced_at_once(
    tmp_path: Path, easy: Served
) -> None:
    await first_certificate(Operator(settings(easy, tmp_path / "acme", "a.example"), tmp_path))
    operator = Operator(settings(easy, tmp_path / "acme", "a.example", "b.example"), tmp_path)
    await first_certificate(operator)
    assert len(operator.used) == 2
    assert names_of(operator) == {"a.example", "b.example"}


async def test_a_certificate_that_the_relay_refuses_is_not_ordered_again(
    tmp_path: Path, easy: Served
) -> None:
    watch = Watch()
    with between(easy, tmp_path, watch) as served:
        operator = Operator(settings(served, tmp_path / "acme"), tmp_path)
        operator.takes = False
        async with operator.running():
            event = await operator.until(TryFailed)
            operator.keeper.try_now()
            await operator.until(TryFailed, 2)
            operator.takes = True
            operator.keeper.try_now()
            await operator.until(CertificateObtained)
    assert "could not be taken into use" in event.why
    assert len(watch.asked(NEW_ORDER)) == 1


async def test_a_certificate_that_the_relay_refused_at_its_start_is_offered_again_before_an_order(
    tmp_path: Path, easy: Served
) -> None:
    class Late(Operator):
        """Cannot take the first certificate that it is offered: its clock is wrong then, or its disk is slow."""

        offered = 0

        async def _take(self, chain: Path, key: Path) -> bool:
            self.offered += 1
            return self.offered > 1 and await super()._take(chain, key)

    watch, wall = Watch(), Wall()
    with between(easy, tmp_path, watch) as served:
        await first_certificate(Operator(settings(served, tmp_path / "acme"), tmp_path))
        wall.ahead = 3 * limits.DAY  # it is not young
        late = Late(settings(served, tmp_path / "acme"), tmp_path, wall)
        await first_certificate(late)
        assert len(watch.asked(NEW_ORDER)) == 1
        never = Operator(settings(served, tmp_path / "acme"), tmp_path, wall)
        never.takes = False
        async with never.running():
            await never.until(TryFailed)
    assert len(watch.asked(NEW_ORDER)) == 2


async def test_relays_with_different_names_on_one_folder_keep_to_their_own(
    tmp_path: Path, easy: Served
) -> None:
    watch = Watch()
    with between(easy, tmp_path, watch) as served:
        chosen = [settings(served, tmp_path / "acme", name) for name in ("a.example", "b.example")]
        relays = [Operator(each, tmp_path) for each in chosen]
        async with relays[0].running(), relays[1].running():
            for relay in relays:
                await relay.until(CertificateObtained)
            for relay in relays:
                relay.keeper.try_now()
            await trio.sleep(0.3)
        relays += [Operator(each, tmp_path) for each in chosen]
        for again in relays[2:]:
            async with again.running():
                await again.until(CertificateFound)
                await again.sleeps()
    assert len(watch.asked(NEW_ORDER)) == 2
    assert not any(order.get("replaces") for order in watch.asked(NEW_ORDER))
    assert [names_of(relay) for relay in relays] == 2 * [{"a.example"}, {"b.example"}]
    assert [len(relay.seen(CertificateObtained)) for relay in relays] == [1, 1, 0, 0]


async def test_a_relay_that_starts_while_another_one_orders_waits_for_it_alone(
    tmp_path: Path, easy: Served
) -> None:
    gate = Gate()
    with between(easy, tmp_path, Watch(**{FINALIZE: gate})) as served:
        one, other = (Operator(settings(served, tmp_path / "acme"), tmp_path) for _ in range(2))
        async with one.running():
            await gate.wait()
            async with other.running():
                await other.until(OtherOrders)
                gate.open.set()
                await other.until(CertificateObtained)
    assert other.used == one.used


async def test_two_relays_on_one_folder_order_once(tmp_path: Path, easy: Served) -> None:
    watch = Watch()
    with between(easy, tmp_path, watch) as served:
        relays = [Operator(settings(served, tmp_path / "acme"), tmp_path) for _ in range(2)]
        async with relays[0].running(), relays[1].running():
            for relay in relays:
                await relay.until(CertificateObtained)
    assert len(watch.asked(NEW_ORDER)) == 1
    assert sorted(len(relay.seen(OtherOrders)) for relay in relays) == [0, 1]
    assert relays[0].used == relays[1].used


# Renewals


@pytest.mark.slow  # certificates of four seconds live for a while
async def test_renewals_go_on_and_old_certificates_go(tmp_path: Path) -> None:
    with pebble(tmp_path / "pebble", life=4, any_proof=True) as served:
        operator = Operator(settings(served, tmp_path / "acme"), tmp_path)
        async with operator.running():
            await operator.until(CertificateObtained, 4)
    assert not operator.seen(TryFailed)
    assert len({chain for chain, _ in operator.used}) == 4
    assert (
        len(list((tmp_path / "acme" / "certificates").iterdir())) <= limits.KEPT_CERTIFICATES + 1
    )  # the last one is new


def rfc3339(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def test_a_window_that_begins_renews_and_names_the_certificate_that_is_replaced(
    tmp_path: Path,
) -> None:
    renews = Watch()
    info = with_renewal_info(lambda: (rfc3339(-20), rfc3339(-10)))

    def edit(request: Request, ask: Callable[[], Answer]) -> Answer:
        return renews(request, lambda: info(request, ask))

    with pebble(tmp_path / "pebble", life=3, any_proof=True) as easy, between(easy, tmp_path, edit) as served:
        operator = Operator(settings(served, tmp_path / "acme"), tmp_path)
        async with operator.running():
            await operator.until(CertificateObtained)
            first = leaf_of(operator)
            await operator.until(CertificateObtained, 2)
    assert not operator.seen(TryFailed)
    orders = renews.asked(NEW_ORDER)
    assert "replaces" not in orders[0]
    name = renewal_id(first)
    assert orders[1]["replaces"] == name
    assert any(request.path == f"/renewal-info/{name}" for request in renews.requests)


@pytest.mark.parametrize("kind", ["alreadyReplaced", "malformed"])
async def test_an_order_that_may_replace_nothing_is_sent_without_it(
    tmp_path: Path, easy: Served, kind: str
) -> None:
    info = with_renewal_info(lambda: (rfc3339(1e6), rfc3339(2e6)))

    def refuse(request: Request, ask: Callable[[], Answer]) -> Answer:
        if "replaces" in request.payload:
            return Answer.problem(409 if kind == "alreadyReplaced" else 404, kind, "It cannot be replaced.")
        return ask()

    watch = Watch(**{NEW_ORDER: refuse})

    def edit(request: Request, ask: Callable[[], Answer]) -> Answer:
        return watch(request, lambda: info(request, ask))

    with between(easy, tmp_path, edit) as served:
        await first_certificate(Operator(settings(served, tmp_path / "acme"), tmp_path))
        await first_certificate(Operator(settings(served, tmp_path / "acme", profile="shortlived"), tmp_path))
    assert [order.get("replaces") is not None for order in watch.asked(NEW_ORDER)] == [False, True, False]
    assert [order.get("profile") for order in watch.asked(NEW_ORDER)] == [None, "shortlived", "shortlived"]


async def test_a_window_in_the_past_does_not_renew_for_ever(tmp_path: Path, easy: Served) -> None:
    info = with_renewal_info(lambda: (rfc3339(-1e6), rfc3339(-1e5)))
    with between(easy, tmp_path, info) as served:
        operator = Operator(settings(served, tmp_path / "acme"), tmp_path)
        async with operator.running():
            event = await operator.until(CertificateObtained)
            await operator.sleeps()
    due = operator.keeper.status.next_try
    assert due is not None
    assert due - time.time() > (event.expires - time.time()) / 11


# Refusals and strange answers


async def test_an_authority_that_asks_to_wait_is_not_asked_before(tmp_path: Path, easy: Served) -> None:
    limited = Answer.problem(429, "rateLimited", "Too many certificates.", **{"Retry-After": "7200"})
    watch = Watch(**{NEW_ORDER: lambda _, __: limited})
    with between(easy, tmp_path, watch) as served:
        chosen = settings(served, tmp_path / "acme")
        operator = Operator(chosen, tmp_path)
        async with operator.running():
            event = await operator.until(TryFailed)
            operator.keeper.try_now()
            await trio.sleep(0.3)
        again = Operator(chosen, tmp_path)  # a restart changes nothing
        async with again.running():
            await again.sleeps()
            await trio.sleep(0.1)
    assert "'Too many certificates.' (rateLimited)" in event.why
    assert 7100 < event.next_try - time.time() <= 7200
    assert len(watch.asked(NEW_ORDER)) == 1
    assert again.events == []
    assert again.keeper.status.last_error == event.why
    assert again.keeper.status.next_try == pytest.approx(event.next_try, abs=2)


def undecided(_: Request, ask: Callable[[], Answer]) -> Answer:
    """Say of an order that it takes another quarter of an hour."""
    answer = ask()
    answer.body = json.dumps({**json.loads(answer.body), "status": "processing"}).encode()
    answer.headers["Retry-After"] = "900"
    return answer


async def test_an_order_that_takes_long_goes_on_when_the_authority_says(tmp_path: Path, easy: Served) -> None:
    watch = Watch(**{"my-order": undecided})
    with between(easy, tmp_path, watch) as served:
        operator = Operator(settings(served, tmp_path / "acme"), tmp_path)
        async with operator.running():
            event = await operator.until(TryFailed)
        watch.instead.clear()
        assert 800 < event.next_try - time.time() <= 900
        shutil.rmtree(tmp_path / "acme" / "tries")  # what it remembers of the pause
        again = Operator(settings(served, tmp_path / "acme"), tmp_path)
        await first_certificate(again)
    assert "has not decided" in event.why
    assert len(watch.asked(NEW_ORDER)) == 1
    assert [event.resumed for event in again.seen(OrderBegun)] == [True]


async def test_an_order_that_is_never_decided_is_begun_anew(tmp_path: Path, easy: Served) -> None:
    watch, wall = Watch(**{"my-order": undecided}), Wall()
    with between(easy, tmp_path, watch) as served:
        for orders, age in ((1, 0.0), (1, 0.5), (2, 1.5)):
            wall.ahead = age * limits.DAY
            operator = Operator(settings(served, tmp_path / "acme"), tmp_path, wall)
            async with operator.running():
                await operator.until(TryFailed)
            assert len(watch.asked(NEW_ORDER)) == orders


async def test_an_authority_that_asks_to_wait_when_it_is_asked_about_renewal_is_not_asked_before(
    tmp_path: Path, easy: Served
) -> None:
    away = Answer.problem(503, "serverInternal", "Maintenance.", **{"Retry-After": "7200"})
    watch = Watch()
    with between(easy, tmp_path, watch) as served:
        operator = Operator(settings(served, tmp_path / "acme"), tmp_path)
        async with operator.running():
            await operator.until(CertificateObtained)
            await operator.sleeps()  # it has asked when to renew
        watch.instead["dir"] = lambda _, __: away
        asked = len(watch.asked("dir"))
        for _ in range(2):  # a restart changes nothing
            operator = Operator(settings(served, tmp_path / "acme"), tmp_path)
            async with operator.running():
                await operator.sleeps()
                operator.keeper.try_now()
                await trio.sleep(0.2)
    assert len(watch.asked("dir")) == asked + 1
    assert not operator.seen(TryFailed)


async def test_a_try_that_is_asked_for_while_one_runs_follows_it(tmp_path: Path, easy: Served) -> None:
    gate = Gate()

    def refuse(request: Request, ask: Callable[[], Answer]) -> Answer:
        gate(request, ask)
        return Answer.problem(403, "unauthorized", "Not yet.")

    watch = Watch(**{NEW_ORDER: refuse})
    with between(easy, tmp_path, watch) as served:
        operator = Operator(settings(served, tmp_path / "acme"), tmp_path)
        async with operator.running():
            await gate.wait()
            operator.keeper.try_now()
            watch.instead.clear()
            gate.open.set()
            await operator.until(CertificateObtained)
    assert len(operator.seen(TryFailed)) == 1


async def test_a_conflict_is_told_in_the_authoritys_own_words(tmp_path: Path, easy: Served) -> None:
    conflict = Answer.problem(409, "orderNotReady", "Come back later.")
    with between(easy, tmp_path, Watch(**{NEW_ORDER: lambda _, __: conflict})) as served:
        event = await failed(Operator(settings(served, tmp_path / "acme"), tmp_path))
    assert "says: 'Come back later.' (orderNotReady)" in event.why


def page(status: int, body: bytes, kind: str = "text/html") -> Callable[..., Answer]:
    return lambda _, __: Answer(status, {"Content-Type": kind}, body)


STRANGE = {
    "a page of a proxy": page(502, b"<html>Bad gateway</html>"),
    "a page instead of JSON": page(200, b"<html>Welcome</html>"),
    "a list": page(200, b"[]", "application/json"),
    "a problem that is a list": page(400, b"[1]", "application/problem+json"),
    "a problem without words": page(400, b"{}", "application/problem+json"),
    "nothing": page(200, b"", "application/json"),
    "broken JSON": page(200, b'{"newNonce": ', "application/json"),
    "much": page(200, b" " * (limits.MOST_ANSWER + 1), "application/json"),
    "lines": lambda _, __: Answer.problem(403, "unauthorized", "first\nsecond\x1b[31m" + "x" * 9000),
    "an endless redirect": lambda request, _: Answer(302, {"Location": request.path}),
    "an address without TLS": lambda _, __: Answer(302, {"Location": "http://127.0.0.1:9/"}),
}


EVERYWHERE = ("a page instead of JSON", "a page of a proxy", "a list")
PARTS = ("dir", "nonce-plz", "sign-me-up", "my-order", FINALIZE, CERTIFICATE)


LACKING = [
    ("dir", b"{}"),
    ("dir", b'{"newNonce": null, "newAccount": null, "newOrder": null, "meta": null}'),
    (NEW_ORDER, b"{}"),
    ("my-order", b"{}"),
    ("my-order", b'{"status": "pending"}'),
    ("my-order", b'{"status": "pending", "authorizations": [null]}'),
    ("my-order", b'{"status": "ready"}'),
    ("my-order", b'{"status": "valid"}'),
    ("authZ", b"{}"),
    ("authZ", b'{"status": "pending"}'),
    ("authZ", b'{"identifier": {"type": "dns", "value": "relay.example"}, "status": "pending"}'),
    ("authZ", b'{"identifier": {"type": "dns", "value": "relay.example"}, "status": "invalid"}'),
]
STRANGE |= {body.decode(): page(200, body, "application/json") for _, body in LACKING}


@pytest.mark.parametrize(
    ("part", "strange"),
    [(part, body.decode()) for part, body in LACKING]
    + [(NEW_ORDER, strange) for strange in STRANGE if not strange.startswith("{")]
    + [(part, strange) for part in PARTS for strange in EVERYWHERE],
)
async def test_a_strange_answer_is_one_sentence_and_a_later_try(
    tmp_path: Path, shared_pebble: Served, part: str, strange: str
) -> None:
    watch = Watch(**{part: STRANGE[strange]})
    with between(shared_pebble, tmp_path, watch) as served:
        operator = Operator(settings(served, tmp_path / "acme"), tmp_path)
        async with operator.running():
            event = await operator.until(TryFailed)
            assert event.why.startswith("The authority")
            assert event.why.isprintable()
            assert len(event.why) < 2 * limits.MOST_WORDS
            watch.instead.clear()
            operator.keeper.try_now()
            await operator.until(CertificateObtained)


@pytest.fixture(scope="module")
def shared_pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One that believes every proof, for tests that leave nothing in it that matters to the next."""
    with pebble(tmp_path_factory.mktemp("pebble"), any_proof=True) as served:
        yield served


async def test_an_authority_that_is_not_trusted(tmp_path: Path, easy: Served) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    operator = Operator(settings(Served(easy.directory, other, 0), tmp_path / "acme"), tmp_path)
    assert "its TLS certificate is not trusted" in (await failed(operator)).why


async def test_an_authority_that_is_not_there(tmp_path: Path, easy: Served) -> None:
    gone = Served(f"https://127.0.0.1:{free_port()}/dir", easy.ca_file, 0)
    event = await failed(Operator(settings(gone, tmp_path / "acme"), tmp_path))
    assert event.why.endswith("cannot be reached: Connection refused.")


async def test_an_authority_without_the_challenge_that_a_relay_answers(tmp_path: Path, easy: Served) -> None:
    def other_challenges(_: Request, ask: Callable[[], Answer]) -> Answer:
        answer = ask()
        body = json.loads(answer.body)
        body["challenges"] = [each for each in body["challenges"] if each["type"] != "tls-alpn-01"]
        answer.body = json.dumps(body).encode()
        return answer

    with between(easy, tmp_path, Watch(authZ=other_challenges)) as served:
        event = await failed(Operator(settings(served, tmp_path / "acme"), tmp_path))
    assert f"has no tls-alpn-01 challenge for {NAME}" in event.why


async def test_a_relay_that_cannot_show_a_proof(tmp_path: Path, easy: Served) -> None:
    operator = Operator(settings(easy, tmp_path / "acme"), tmp_path)

    async def cannot(identifier: str, certificate_pem: bytes, key_pem: bytes) -> None:
        operator.responder.opened.append(identifier)
        raise OSError(5, os.strerror(5))

    operator.responder.open = cannot  # type: ignore[method-assign]
    event = await failed(operator)
    assert event.why == f"The relay could not show the proof for {NAME}: {os.strerror(5)}."
    assert operator.responder.opened == operator.responder.closed


async def test_a_folder_that_cannot_be_used(tmp_path: Path, easy: Served) -> None:
    (tmp_path / "acme").write_text("a file")
    event = await failed(Operator(settings(easy, tmp_path / "acme"), tmp_path))
    assert event.why.startswith(f"The folder '{tmp_path / 'acme'}' cannot be used")


# Being stopped


@pytest.mark.parametrize("part", ["dir", NEW_ORDER, "chalZ", FINALIZE, CERTIFICATE])
async def test_a_keeper_that_is_cancelled_ends_at_once_and_its_order_goes_on_later(
    tmp_path: Path, easy: Served, part: str
) -> None:
    gate = Gate()
    watch = Watch(**{part: gate})
    with between(easy, tmp_path, watch) as served:
        operator = Operator(settings(served, tmp_path / "acme"), tmp_path)
        async with operator.running():
            await gate.wait()
        assert operator.responder.opened == operator.responder.closed
        assert not operator.seen(TryFailed)
        gate.open.set()
        watch.instead.clear()
        again = Operator(settings(served, tmp_path / "acme"), tmp_path)
        await first_certificate(again)
        expected = 2 if part == NEW_ORDER else 1  # its address had not come yet
        assert len(watch.asked(NEW_ORDER)) == expected
        assert len(watch.asked(FINALIZE)) == 1


async def test_while_the_relay_drains_there_is_no_order(tmp_path: Path, easy: Served) -> None:
    gate = Gate()
    watch = Watch(chalZ=gate)
    with between(easy, tmp_path, watch) as served:
        operator = Operator(settings(served, tmp_path / "acme"), tmp_path)
        operator.keeper.pause()
        async with operator.running():
            await trio.sleep(0.2)
            assert watch.requests == []
            assert operator.keeper.status.next_try is None
            operator.keeper.resume()
            await gate.wait()
            operator.keeper.pause()  # in the middle of an order
            await operator.until_closed()
            gate.open.set()
            operator.keeper.try_now()
            await trio.sleep(0.2)
            assert not operator.seen(TryFailed)
            assert watch.asked(FINALIZE) == []
            watch.instead.clear()
            operator.keeper.resume()
            await operator.until(CertificateObtained)
    assert len(watch.asked(NEW_ORDER)) == 1
    assert [event.resumed for event in operator.seen(OrderBegun)] == [False, True]
