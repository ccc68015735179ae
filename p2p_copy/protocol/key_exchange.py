"""The key exchange: two sides prove to each other that they have the same secret, and get a session's keys.

    M1  receiver -> sender   0x81 | version u8 | nR[32] | capabilities
    M2  sender -> receiver   0x82 | version u8 | nS[32] | Ya[32] | commitment[32] | capabilities
    M3  receiver -> sender   0x83 | Yb[32] | Tb[32]
    M4  sender -> receiver   0x84 | Ta[32] | opening[32]
    MX  either way           0x8F | reason u8: 1 wrong code, 2 unknown version, 3 malformed or out of order

Capabilities are a u16 length and names of a-z, 0-9 and "-", sorted, without repetition, joined by commas. A
side ignores unknown names. Numbers are big-endian. CPace runs with the sender as initiator:

    sid = nR | nS            CI = lv_cat("p2p-copy/1 sender", "p2p-copy/1 receiver", room id)
    PRS = secret             ADa, ADb = the capabilities of the sender, of the receiver, without their length
    th  = SHA-256(lv_cat(M1, M2, 0x83 | Yb))
    Tb  = HMAC-SHA-256(confirm R key, th)            Ta = HMAC-SHA-256(confirm S key, th)

The opening is a random value of the sender, and the commitment its hash. The words that people compare come from the
keys and from the opening, so no side can choose a share for the words that it gives: see `verification`.

Rules:

1. The sender has keys once Tb is right, the receiver once Ta is; until then neither acts on anything else.
2. The first mistake ends the run for good. A wrong Tb or Ta means a wrong guess, and the code is spent.
3. MX is not authenticated. It is sent only to a side that has not confirmed: never in answer to an MX, never
   by a receiver that has sent M3. It can end a run, and change nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import struct
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from p2p_copy.errors import IncompatiblePeer, P2PCopyError, PeerLost, PeerMisbehaved, WrongCode
from p2p_copy.protocol import cpace, keys, limits, verification
from p2p_copy.value import FrozenValue

if TYPE_CHECKING:
    from collections.abc import Callable

NONCE: Final = 32
"""Bytes of either side's nonce."""

_RECEIVER_HELLO: Final = b"\x81"
_SENDER_HELLO: Final = b"\x82"
_RECEIVER_PROOF: Final = b"\x83"
_SENDER_PROOF: Final = b"\x84"
_FAREWELL: Final = b"\x8f"

_M1: Final = struct.Struct(">cB32sH")
_M2: Final = struct.Struct(">cB32s32s32sH")
_M3: Final = struct.Struct(">c32s32s")
_M4: Final = struct.Struct(">c32s32s")

_REASONS: Final[dict[type[P2PCopyError], int]] = {WrongCode: 1, IncompatiblePeer: 2, PeerMisbehaved: 3}
_ERRORS: Final = {reason: error for error, reason in _REASONS.items()}

_CAPABILITIES: Final = re.compile(r"(?:[a-z0-9-]+(?:,[a-z0-9-]+)*)?")

_WRONG_LENGTH: Final = "The other side sent a message of the wrong length during the key exchange."

_Step: TypeAlias = "Callable[[bytes], bytes | None]"


def code_spent() -> bytes:
    """Return the message that refuses an exchange by a code that is spent."""
    return _FAREWELL + bytes((_REASONS[WrongCode],))


class HandshakeFailed(Exception):
    """The key exchange has failed.

    Attributes:
        error: the error for the user.
        farewell: the last message to send, None if nothing may be sent.

    """

    def __init__(self, error: P2PCopyError, farewell: bytes | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.farewell = farewell


class SessionKeys(FrozenValue, hidden=("send_key", "receive_key", "resume", "verify", "links")):
    """The result of a key exchange.

    Attributes:
        send_key: the key of this side's first records.
        receive_key: the key of the other side's first records.
        resume: the secret of the next key exchange if the link is lost.
        verify: what two people may compare, as `verification.words_of` shows it.
        links: the secret of further links.
        peer_capabilities: the other side's capabilities, known here or not.

    """

    send_key: bytes
    receive_key: bytes
    resume: bytes
    verify: bytes
    links: bytes
    peer_capabilities: frozenset[str]


class _Handshake(ABC):
    """What both sides have in common: their inputs, and that the first mistake ends the run."""

    def __init__(
        self, secret: str, room: str, nonce: bytes, scalar: bytes, capabilities: frozenset[str]
    ) -> None:
        """Begin a run.

        Args:
            secret: the code's secret part in its canonical form.
            room: the room id, 64 hexadecimal digits.
            nonce: 32 random bytes, for this run only.
            scalar: 32 random bytes, for this run only.
            capabilities: optional features that this side has.

        """
        if len(nonce) != NONCE or len(scalar) != cpace.SCALAR:
            raise ValueError("a key exchange needs 32 bytes of nonce and 32 of scalar")
        self._prs = secret.encode()
        self._ci = cpace.lv_cat(b"p2p-copy/1 sender", b"p2p-copy/1 receiver", room.encode())
        self._nonce = nonce
        self._scalar = scalar
        self._capabilities = _encode_capabilities(capabilities)
        self._hello: bytes | None = None
        self._step: _Step | None = self._answer_hello
        """Handles the next message; None when the run is over."""
        self._proof_sent = False
        """This side has shown its proof, so the other side may have confirmed the keys; then it sends no farewell."""
        self.keys: SessionKeys | None = None
        """The session's keys; None while the other side has not proved that it has the secret."""

    def start(self) -> bytes | None:
        """Return the first message; only the receiver has one.

        Raises:
            RuntimeError: this key exchange is over; a bug of ours.

        """
        self._next_step()
        return self._hello

    def receive(self, message: bytes) -> bytes | None:
        """Handle the other side's next message; return the answer to send, if there is one.

        Raises:
            HandshakeFailed: with `WrongCode`, `IncompatiblePeer` or `PeerMisbehaved`; there will be no keys.
            RuntimeError: this key exchange is over; a bug of ours.

        """
        step = self._next_step()
        self._step = None
        try:
            if message[:1] == _FAREWELL:
                raise HandshakeFailed(_meaning(message), None)
            return step(message)
        except (P2PCopyError, HandshakeFailed) as error:
            if self._proof_sent:  # the other side has our proof and may have tried a secret on it
                raise HandshakeFailed(WrongCode(), None) from None
            if isinstance(error, HandshakeFailed):
                raise
            raise HandshakeFailed(error, _FAREWELL + bytes((_REASONS[type(error)],))) from None

    def lost(self) -> P2PCopyError:
        """End this run because the link is lost; return the error for the user.

        A receiver that has shown its proof and sees none must treat it as a failed guess: the other side could
        try one secret on the proof.
        """
        self._step = None
        return WrongCode() if self._proof_sent and self.keys is None else PeerLost()

    def _next_step(self) -> _Step:
        if self._step is None:
            raise RuntimeError("this key exchange is over")
        return self._step

    def _generator(self, sid: bytes) -> bytes:
        return cpace.calculate_generator(self._prs, self._ci, sid)

    @abstractmethod
    def _answer_hello(self, message: bytes) -> bytes: ...


class SenderHandshake(_Handshake):
    """The sender's side: it answers the receiver's hello, and shows its proof only after the receiver's."""

    def _answer_hello(self, m1: bytes) -> bytes:
        (receiver_nonce,), adb = _open_hello(_M1, _RECEIVER_HELLO, m1)
        sid = receiver_nonce + self._nonce
        ya = cpace.share(self._scalar, self._generator(sid))
        opening = keys.opening(self._scalar)
        commitment = verification.commitment(opening)
        m2 = _pack_hello(_M2, _SENDER_HELLO, self._nonce, ya, commitment, self._capabilities)
        self._step = partial(self._check_proof, m1, m2, sid, ya, opening, adb)
        return m2

    def _check_proof(
        self, m1: bytes, m2: bytes, sid: bytes, ya: bytes, opening: bytes, adb: bytes, m3: bytes
    ) -> bytes:
        yb, tb = _open(_M3, _RECEIVER_PROOF, m3)
        k = cpace.scalar_mult_vfy(self._scalar, yb)
        isk = cpace.isk_ir(sid, k, ya, self._capabilities, yb, adb)
        th = _transcript_hash(m1, m2, yb)
        prk = keys.extract(th, isk)
        _check(tb, keys.confirm_receiver(prk), th)
        ours, theirs = keys.sender_to_receiver(prk), keys.receiver_to_sender(prk)
        self.keys = _session_keys(prk, ours, theirs, opening, adb)
        return _M4.pack(_SENDER_PROOF, _tag(keys.confirm_sender(prk), th), opening)


class ReceiverHandshake(_Handshake):
    """The receiver's side: it begins, and shows its proof first."""

    def __init__(
        self, secret: str, room: str, nonce: bytes, scalar: bytes, capabilities: frozenset[str]
    ) -> None:
        super().__init__(secret, room, nonce, scalar, capabilities)
        self._hello = self._m1 = _pack_hello(_M1, _RECEIVER_HELLO, nonce, self._capabilities)

    def _answer_hello(self, m2: bytes) -> bytes:
        (sender_nonce, ya, commitment), ada = _open_hello(_M2, _SENDER_HELLO, m2)
        sid = self._nonce + sender_nonce
        yb = cpace.share(self._scalar, self._generator(sid))
        k = cpace.scalar_mult_vfy(self._scalar, ya)
        isk = cpace.isk_ir(sid, k, ya, ada, yb, self._capabilities)
        th = _transcript_hash(self._m1, m2, yb)
        prk = keys.extract(th, isk)
        self._step = partial(self._check_proof, prk, th, commitment, ada)
        self._proof_sent = True
        return _M3.pack(_RECEIVER_PROOF, yb, _tag(keys.confirm_receiver(prk), th))

    def _check_proof(self, prk: bytes, th: bytes, commitment: bytes, ada: bytes, m4: bytes) -> None:
        ta, opening = _open(_M4, _SENDER_PROOF, m4)
        _check(ta, keys.confirm_sender(prk), th)
        if not hmac.compare_digest(verification.commitment(opening), commitment):
            raise PeerMisbehaved
        ours, theirs = keys.receiver_to_sender(prk), keys.sender_to_receiver(prk)
        self.keys = _session_keys(prk, ours, theirs, opening, ada)


def _session_keys(
    prk: bytes, send_key: bytes, receive_key: bytes, opening: bytes, theirs: bytes
) -> SessionKeys:
    """Return the keys of a session with a side that has the capabilities `theirs`."""
    return SessionKeys(
        send_key=send_key,
        receive_key=receive_key,
        resume=keys.resume(prk),
        verify=keys.verify(prk, opening),
        links=keys.links(prk),
        peer_capabilities=_decode_capabilities(theirs),
    )


def _transcript_hash(m1: bytes, m2: bytes, yb: bytes) -> bytes:
    return hashlib.sha256(cpace.lv_cat(m1, m2, _RECEIVER_PROOF + yb)).digest()


def _tag(key: bytes, th: bytes) -> bytes:
    return hmac.digest(key, th, "sha256")


def _check(tag: bytes, key: bytes, th: bytes) -> None:
    if not hmac.compare_digest(tag, _tag(key, th)):
        raise WrongCode


def _pack_hello(shape: struct.Struct, kind: bytes, *fields_and_capabilities: bytes) -> bytes:
    *fields, capabilities = fields_and_capabilities
    return shape.pack(kind, limits.PROTOCOL_VERSION, *fields, len(capabilities)) + capabilities


def _open_hello(shape: struct.Struct, kind: bytes, message: bytes) -> tuple[list[bytes], bytes]:
    """Return the fields between version and capabilities, and the capabilities."""
    # The version is checked first: the hello of another version may look different behind it.
    if message[:1] == kind and len(message) > 1:
        _check_version(message[1])
    if len(message) > limits.MAX_HANDSHAKE_MESSAGE:
        raise PeerMisbehaved("The other side sent a message that is too long during the key exchange.")
    _, *fields, length = _open(shape, kind, message[: shape.size])
    capabilities = message[shape.size :]
    if len(capabilities) != length:
        raise PeerMisbehaved(_WRONG_LENGTH)
    _decode_capabilities(capabilities)
    return fields, capabilities


def _open(shape: struct.Struct, kind: bytes, message: bytes) -> list[Any]:
    """Return the fields of a message after its kind."""
    if message[:1] != kind:
        raise PeerMisbehaved("The other side sent a message out of order during the key exchange.")
    if len(message) != shape.size:
        raise PeerMisbehaved(_WRONG_LENGTH)
    return list(shape.unpack(message)[1:])


def _check_version(theirs: int) -> None:
    ours = limits.PROTOCOL_VERSION
    if theirs < ours:
        raise IncompatiblePeer(
            f"The other side's p2p-copy is too old (it speaks version {theirs} of the protocol, this side "
            f"version {ours}). Upgrade p2p-copy over there."
        )
    if theirs > ours:
        raise IncompatiblePeer(
            f"This side's p2p-copy is too old (it speaks version {ours} of the protocol, the other side "
            f"version {theirs}). Upgrade p2p-copy here."
        )


def _encode_capabilities(names: frozenset[str]) -> bytes:
    text = ",".join(sorted(names))
    if len(text) > limits.MAX_CAPABILITIES or not _CAPABILITIES.fullmatch(text):
        raise ValueError("a capability's name has a-z, 0-9 and - only, and together they are short")
    return text.encode()


def _decode_capabilities(data: bytes) -> frozenset[str]:
    text = data.decode("latin-1")
    names = text.split(",") if text else []
    well_formed = len(data) <= limits.MAX_CAPABILITIES and _CAPABILITIES.fullmatch(text)
    if not well_formed or names != sorted(set(names)):
        raise PeerMisbehaved("The other side sent a malformed list of what it can do.")
    return frozenset(names)


def _meaning(farewell: bytes) -> P2PCopyError:
    """Return the error that the other side's last message means for this side's user."""
    error = _ERRORS.get(farewell[1]) if len(farewell) == len(_FAREWELL) + 1 else None
    if error is None or error is PeerMisbehaved:
        return PeerMisbehaved("The two sides did not understand each other during the key exchange.")
    return error()
