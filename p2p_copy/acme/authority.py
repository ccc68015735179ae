"""Talks to an ACME authority: one request at a time, each in a thread that is left behind if it takes too long.

`acme` and `josepy`, which certbot is made of, sign requests, fetch nonces and read answers. What they lack for a relay
is here:
1. A nonce that is refused is tried again, not once but often: authorities with many machines refuse good ones.
2. What an authority says is kept in its own words, with the time that it asks to wait (Retry-After).
3. An answer has a greatest size, a request has a deadline, and all goes over TLS, whatever addresses an answer names.
4. A token stays as it came. Decoding and encoding it again, as `acme` does, can change its last character.
"""

from __future__ import annotations

import io
import ssl
import time
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import requests
import trio
import urllib3
from acme import challenges, client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from josepy.b64 import b64encode
from josepy.interfaces import JSONDeSerializable
from josepy.json_util import field
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC

from p2p_copy.acme import limits
from p2p_copy.acme.challenge import general_name
from p2p_copy.acme.failures import AuthorityFailed, os_words, words
from p2p_copy.acme.schedule import Window
from p2p_copy.acme.settings import is_address
from p2p_copy.version import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec

    from p2p_copy.acme.settings import AcmeSettings

T = TypeVar("T")

REQUEST_THREAD: Final = "ACME request"
"""Name of a thread while it is in a request."""

_DEPTH: Final = 10
"""Exceptions of a library that are looked through for the system's own words."""

_CONFLICT: Final = "conflict"

_NOT_REPLACED: Final = {_CONFLICT, "alreadyReplaced", "malformed", "unauthorized"}
"""How authorities say that an order cannot replace the certificate that it names: it is replaced already, unknown, or
another account's."""


@challenges.Challenge.register
class TlsAlpn01(challenges.Challenge):
    """The challenge of RFC 8737, which `acme` no longer has."""

    typ = "tls-alpn-01"
    token: str = field("token")

    def key_authorization(self, key: JWK) -> str:
        """Return what proves that account and name belong together (RFC 8555, section 8.1)."""
        return f"{self.token}.{b64encode(key.thumbprint()).decode()}"


class _NewOrder(messages.NewOrder):
    """An order that says which certificate it replaces (RFC 9773, section 5)."""

    replaces: str | None = field("replaces", omitempty=True)


class Authority:
    """An authority, as one try meets it.

    After `connect` the other methods raise `AuthorityFailed`, whatever happens on the way and there.
    """

    def __init__(self, settings: AcmeSettings, key: ec.EllipticCurvePrivateKey) -> None:
        """Connect to nothing yet; `key` is the account's."""
        self._settings = settings
        self._key = JWKEC(key=key)
        self._network = _Network(self._key, settings.ca_file)
        self._directory = messages.Directory({})
        # Of its own: threads that were left behind must not keep a later try from having one.
        self._threads = trio.CapacityLimiter(1)

    def close(self) -> None:
        """Close its connections."""
        self._network.session.close()

    @property
    def retry_after(self) -> float | None:
        """Seconds that the last answer asked to wait; None if it did not."""
        return self._network.retry_after

    @property
    def terms(self) -> str | None:
        """Address of what using it agrees to; None if it names none."""
        terms: str | None = self._directory["meta"].terms_of_service
        return terms

    async def connect(self) -> None:
        """Fetch the directory, which everything else needs."""
        self._directory = await self._get(self._settings.directory, _json(messages.Directory.from_json))

    async def register(self) -> str:
        """Return the address of the key's account, which is made if there was none.

        Using an authority agrees to its terms; it is the operator who chose to use it.
        """
        binding = None
        if self._settings.eab_kid is not None and self._settings.eab_key is not None:
            make = messages.ExternalAccountBinding.from_data
            binding = make(
                self._key.public_key(), self._settings.eab_kid, self._settings.eab_key, self._directory
            )
        body = messages.NewRegistration.from_data(
            email=self._settings.email, terms_of_service_agreed=True, external_account_binding=binding
        )
        self._network.account = None
        return await self._post(self._address("newAccount"), body, _location)

    def use_account(self, url: str) -> None:
        """Sign what follows with the account at this address."""
        self._network.account = messages.RegistrationResource(uri=url, body=messages.Registration())

    async def update_email(self, url: str) -> None:
        """Tell the authority another email address, or none."""
        contact = (f"mailto:{self._settings.email}",) if self._settings.email else ()
        await self._post(url, messages.UpdateRegistration(contact=contact), _nothing)

    async def new_order(self, replaces: x509.Certificate | None) -> str:
        """Return the address of a new order for a certificate with all names."""
        identifiers = [
            messages.Identifier(
                typ=messages.IDENTIFIER_IP if is_address(name) else messages.IDENTIFIER_FQDN, value=name
            )
            for name in self._settings.names
        ]
        order = partial(_NewOrder, identifiers=identifiers, profile=self._settings.profile)
        address = self._address("newOrder")
        replaced = renewal_id(replaces) if replaces is not None else None
        if replaced is not None and "renewalInfo" in self._directory.to_partial_json():
            try:
                return await self._post(address, order(replaces=replaced), _location)
            except AuthorityFailed as failure:
                # It knows the old certificate as replaced, or not at all: that is no reason for not having a new one.
                if failure.code not in _NOT_REPLACED:
                    raise
        return await self._post(address, order(), _location)

    async def order(self, url: str) -> messages.Order:
        """Return an order as it is now."""
        return await self._post(url, None, _json(messages.Order.from_json))

    async def authorization(self, url: str) -> messages.Authorization:
        """Return an authorization as it is now."""
        return await self._post(url, None, _json(messages.Authorization.from_json))

    async def answer(self, challenge: messages.ChallengeBody) -> None:
        """Say that a challenge can be looked at now."""
        await self._post(challenge.uri, _Empty(), _nothing)

    def proof(self, authorization: messages.Authorization) -> tuple[messages.ChallengeBody, str]:
        """Return the challenge that a relay can answer, and the key authorization that its certificate has to prove.

        Raises:
            AuthorityFailed: the authority does not offer it.

        """
        for challenge in authorization.challenges:
            if isinstance(challenge.chall, TlsAlpn01):
                return challenge, challenge.chall.key_authorization(self._key)
        raise AuthorityFailed(
            f"{self._host} has no {TlsAlpn01.typ} challenge for {authorization.identifier.value}, the only kind that "
            "a relay answers."
        )

    async def finalize(self, order: messages.Order, key: ec.EllipticCurvePrivateKey) -> None:
        """Ask for the certificate of an order that is ready, with the certificate's own key."""
        names = x509.SubjectAlternativeName(map(general_name, self._settings.names))
        request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .add_extension(names, critical=True)
            .sign(key, hashes.SHA256())
        )
        await self._post(order.finalize, messages.CertificateRequest(csr=request), _nothing)

    async def chain(self, url: str) -> bytes:
        """Return a certificate and what is between it and its root (PEM)."""
        return await self._post(url, None, _content)

    async def renewal(self, leaf: x509.Certificate) -> tuple[Window | None, float | None]:
        """Return when a certificate should be renewed, and the seconds until this should be asked again.

        None for what the authority does not say.
        """
        address, name = self._directory.to_partial_json().get("renewalInfo"), renewal_id(leaf)
        if address is None or name is None:
            return None, None
        window = await self._get(f"{address}/{name}", _json(_window))
        return window, self.retry_after

    # Requests

    def _address(self, name: str) -> str:
        address = self._directory.to_partial_json().get(name)
        if not isinstance(address, str):
            raise AuthorityFailed(f"{self._host} has no directory at {self._settings.directory}.")
        return address

    async def _get(self, url: str, read: Callable[[requests.Response], T]) -> T:
        return await self._run(lambda: read(self._network.get(url)))

    async def _post(
        self, url: str, body: JSONDeSerializable | None, read: Callable[[requests.Response], T]
    ) -> T:
        """Send a signed request, and return what `read` makes of the answer. Without a body it only asks."""
        nonces = self._address("newNonce")
        return await self._run(lambda: read(self._network.post(url, body, new_nonce_url=nonces)))

    async def _run(self, job: Callable[[], T]) -> T:
        """Do one request in a thread.

        Raises:
            AuthorityFailed: it failed, for whatever reason on the authority's side or on the way there.

        """
        with trio.move_on_after(limits.REQUEST_TIMEOUT):
            return await trio.to_thread.run_sync(
                partial(self._explained, job),
                thread_name=REQUEST_THREAD,
                abandon_on_cancel=True,
                limiter=self._threads,
            )
        raise AuthorityFailed(f"{self._host} did not answer in {limits.REQUEST_TIMEOUT:.0f} s.")

    @property
    def _host(self) -> str:
        return f"The authority {self._settings.directory.split('/')[2]}"

    def _explained(self, job: Callable[[], T]) -> T:
        """Do a job; what the libraries raise becomes a sentence, whatever it is: an answer may have any form."""
        try:
            self._network.retry_after = None
            return job()
        except messages.Error as error:
            raise AuthorityFailed(
                f"{self._host} says: {problem_words(error)}", _code(error), self.retry_after
            ) from None
        except requests.RequestException as error:
            raise AuthorityFailed(f"{self._host} cannot be reached: {_cause(error)}.") from None
        except OSError as error:  # a file that names who is trusted is missing
            raise AuthorityFailed(f"{self._host} cannot be reached: {os_words(error)}.") from None
        except errors.ConflictError as error:
            raise self._conflict(error) from None
        except errors.ClientError as error:
            answer = error.args[0] if error.args else ""
            if isinstance(answer, requests.Response):
                answer = f"{answer.status_code} {answer.reason}"
            sentence = f"{self._host} answered without a reason: {words(str(answer))}"
            raise AuthorityFailed(sentence, None, self.retry_after) from None
        except Exception as error:
            raise AuthorityFailed(
                f"{self._host} gave an answer that is not understood: {type(error).__name__}: {words(str(error))}"
            ) from None

    def _conflict(self, error: errors.ConflictError) -> AuthorityFailed:
        """Return a refusal with status 409 in the authority's own words, which `acme` does not look at."""
        try:
            answer = self._network.last.json()
            problem = messages.Error.from_json(answer)
            said = f"says: {problem_words(problem)}"
            code = _code(problem) if "type" in answer else _CONFLICT
        except Exception:  # it has none
            said, code = f"answered without a reason: 409 {words(str(error))}", _CONFLICT
        return AuthorityFailed(f"{self._host} {said}", code, self.retry_after)


class _Empty(JSONDeSerializable):
    """The object with nothing in it, which answers a challenge (RFC 8555, section 7.5.1)."""

    def to_partial_json(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_json(cls, _: Any) -> _Empty:
        return cls()

    def __bool__(self) -> bool:
        return True  # `acme` sends nothing for what is false


class _Network(client.ClientNetwork):
    """The connections of `acme`, with bounds."""

    def __init__(self, key: JWK, ca_file: Path | None) -> None:
        timeout = int(limits.SOCKET_TIMEOUT)
        super().__init__(key, alg=ES256, user_agent=PROGRAM, timeout=timeout)
        self.retry_after: float | None = None
        self.last = requests.Response()
        self.session.adapters.clear()  # no http://
        self.session.mount("https://", _BoundedAdapter(ca_file))
        self.session.hooks["response"].append(self._note)

    def _note(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self.last, self.retry_after = response, seconds(response.headers)

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a signed request, again if its nonce is refused."""
        for _ in range(limits.NONCE_TRIES // 2):
            try:
                return super().post(*args, **kwargs)  # tries twice
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
                last = error
        raise last


class _BoundedAdapter(requests.adapters.HTTPAdapter):
    """Trusts the authorities of one file, or public ones, and reads no more of an answer than there can be.

    Once it is closed it sends nothing more: a thread that was left behind ends with the request that it is in.
    """

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._closed = False
        super().__init__()

    def close(self) -> None:
        """Close what is open, and open nothing again."""
        self._closed = True
        super().close()

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send a request and read its answer."""
        if self._closed:
            raise requests.ConnectionError("nobody waits for it any more")
        trusted = str(self._ca_file) if self._ca_file is not None else verify
        response = super().send(request, stream, timeout, trusted, cert, proxies)
        try:
            body = _bounded(response)
        except BaseException as error:
            response.close()
            if isinstance(error, urllib3.exceptions.HTTPError):
                raise requests.ConnectionError(error) from None
            raise
        response.raw.release_conn()
        response.raw = io.BytesIO(body)
        if self._closed:
            super().close()
        return response


def _bounded(response: requests.Response) -> bytes:
    """Return the body of an answer that is neither too long nor too slow."""
    started, body = time.monotonic(), bytearray()
    while piece := response.raw.read1(limits.MOST_ANSWER, decode_content=True):
        body += piece
        if len(body) > limits.MOST_ANSWER:
            raise requests.ConnectionError("the answer is too long")
        if time.monotonic() - started > limits.REQUEST_TIMEOUT:
            raise requests.ConnectionError("the answer takes too long")
    return bytes(body)


def _json(parse: Callable[[Any], T]) -> Callable[[requests.Response], T]:
    return lambda response: parse(response.json())


def _location(response: requests.Response) -> str:
    return str(response.headers["Location"])


def _nothing(_: requests.Response) -> None:
    return None


def _content(response: requests.Response) -> bytes:
    return bytes(response.content)


def _window(answer: Any) -> Window | None:
    window = messages.RenewalInfo.from_json(answer).suggested_window
    return Window.checked(window.start.timestamp(), window.end.timestamp())


def seconds(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer asks to wait (RFC 9110, section 10.2.3); None if it does not.

    A date is compared with the date of the answer, since our clock may be wrong.
    """
    named = headers.get("Retry-After")
    if named is None:
        return None
    try:
        if named.strip().isdigit():
            return min(float(named), limits.MOST_RETRY_AFTER)
        now = headers.get("Date")
        base = parsedate_to_datetime(now).timestamp() if now else time.time()
        return min(max(parsedate_to_datetime(named).timestamp() - base, 0.0), limits.MOST_RETRY_AFTER)
    except (ValueError, OverflowError):
        return None


def renewal_id(leaf: x509.Certificate) -> str | None:
    """Return by what an authority knows a certificate (RFC 9773, section 4.1).

    None for one that does not name its issuer's key: nothing can be asked about it.
    """
    try:
        issuer = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None
    if issuer is None:
        return None
    # As DER has it: with a byte more if the first bit would be a sign.
    serial = leaf.serial_number.to_bytes(leaf.serial_number.bit_length() // 8 + 1, "big")
    return ".".join(b64encode(part).decode() for part in (issuer, serial))


def _code(error: messages.Error) -> str:
    """Return the last word of a problem's type, known or not."""
    return str(error.typ).rpartition(":")[2]


def problem_words(error: messages.Error) -> str:
    """Return an authority's own words for a problem, with those about single names (RFC 8555, section 6.7.1)."""
    own = error.detail or error.title or error.typ
    parts = [f"'{words(str(own))}' ({_code(error)})"]
    for problem in error.subproblems or ():
        name = f"{problem.identifier.value}: " if problem.identifier else ""
        parts.append(f"{name}'{words(str(problem.detail or problem.typ))}'")
    return words("; ".join(parts))


def _cause(error: BaseException) -> str:
    """Return the words of the system for what a library wraps several times."""
    found: BaseException | None = error
    best = type(error).__name__
    for _ in range(_DEPTH):
        if found is None:
            break
        if isinstance(found, ssl.SSLCertVerificationError):
            return words(f"its TLS certificate is not trusted, {found.verify_message}")
        if isinstance(found, OSError) and found.strerror:
            best = found.strerror
        inner = getattr(found, "reason", None) or next(iter(found.args), None)
        found = inner if isinstance(inner, BaseException) else found.__cause__ or found.__context__
    return words(best)
