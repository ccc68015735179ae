"""The messages between a client and the relay: docs/protocol.md section 3.

Every message is one JSON object in a WebSocket text message of at most `limits.MAX_HELLO` bytes. Decoders
check everything: one object without duplicate keys, exact types, known ranges. Unknown keys are
ignored, so that later versions can add some. A wrong message of a client gives a `Refused` to answer with; a wrong
message of a relay raises an error for the client's user.
"""

from __future__ import annotations

import json
import re
from enum import Enum, IntEnum, StrEnum
from typing import Any, Final, Self, TypeAlias

from p2p_copy.errors import NotARelay
from p2p_copy.protocol import limits
from p2p_copy.protocol.escape import escape
from p2p_copy.value import FrozenValue, NamedTuple

LEGACY_PATH: Final = "/"
"""Path that clients of p2p-copy 0.1.x open."""

CERTIFICATE_HEADER: Final = "P2p-Copy-Certificate"
"""Header of a relay's answers in plain HTTP: the SHA-256 of the certificate (DER) that it has shown in this connection,
in hexadecimal digits. A client that was shown another one knows that something on the way decrypts TLS."""

READY: Final = '{"type":"ready"}'
"""What a relay sends to a 0.1.x sender when both sides are there. A 0.1.x receiver is sent nothing."""

_ROOM_PATH: Final = re.compile(r"/v1/([0-9a-f]{64})", re.ASCII)
_CLAIM: Final = re.compile("[0-9a-f]{{{},{}}}".format(*limits.CLAIM_DIGITS), re.ASCII)
_MOST: Final = 2**53
"""Numbers up to this one are the same in every JSON implementation."""


class Role(Enum):
    """Which side of a transfer a client is."""

    SENDER = "sender"
    RECEIVER = "receiver"


class Refusal(StrEnum):
    """Why a relay refuses a client. A newer relay may have more reasons than these."""

    BAD_HELLO = "bad-hello"
    VERSION = "version"
    ROOM_TAKEN = "room-taken"
    BUSY = "busy"
    WAIT_OVER = "wait-over"
    STOPPING = "stopping"
    TOKEN = "token"  # noqa: S105 - the reason, not a token
    QUOTA = "quota"
    UNKNOWN_ROOM = "unknown-room"


MOVEMENT: Final = "movement"
"""Feature of a client that wants to be told what the relay sees move (`FlowReport`)."""

STILL_WAITING: Final = "still-waiting"
"""Feature of a client that waits already and has connected again, because the other side may by now come to another
relay. Its old connection, if it is at this relay, is replaced only while it waits, and never once it is paired."""


class FlowState(StrEnum):
    """What the relay sees of one of the two directions through it."""

    MOVES = "moves"
    SILENT = "silent"
    """Nothing comes to the relay."""
    UNTAKEN = "untaken"
    """The relay has data that the client at the other end does not read."""
    LIMITED = "limited"
    """A limit on the rate delays it."""


class CloseCode(IntEnum):
    """Why a relay or a client closes a connection before the transfer is complete (docs/protocol.md section 3)."""

    STOPPING = 1012
    """The relay stops: RFC 6455's registry calls it "service restart"."""
    PEER_LOST = 4001
    """For a client, when the other side's connection broke."""
    QUOTA_USED = 4003
    """For both, when the quota of an access token is used up."""
    DISMISSED = 4004
    """For both, when the relay's operator ended their pairing."""
    REPLACED = 4005
    """For the old connection of a client that connected again under the same claim."""
    MEMORY_NEEDED = 4006
    """For both, when their pairing does not move and the relay needs the memory that it takes: they reconnect."""
    GIVEN_UP = 4010
    """From a client that ends a conversation before it is complete: it refuses, fails, or was stopped."""
    WRONG_CODE = 4011
    """From a client whose key exchange failed because the two secrets differ."""


class Hello(FrozenValue, hidden=("claim",)):
    """A client's first message. The room is in the path, or, in the legacy form, in the message.

    Rooms of the legacy form are separate from the others, even if their names are equal. Their names are any text.

    `claim` is a secret of one client and the relay: random hexadecimal digits (`limits.CLAIM_DIGITS`) that are new for
    each transfer, and the same whenever the client reconnects for it. Its new connection then replaces its old one.
    """

    role: Role
    room: str = ""
    legacy: bool = False
    program: str = ""
    token: str | None = None
    features: tuple[str, ...] = ()
    claim: str | None = None


class LoadTerms(NamedTuple):
    """The limits, by the names of the relay's options, that meet a client which loads the relay. 0 is no limit.

    A relay that says them wants to be loaded, and a program that loads relays leaves all others alone.
    """

    max_connections: int
    max_pending: int
    max_waiting: int
    max_per_source: int
    max_pending_per_source: int
    connections_per_minute: int
    joins_per_minute: int


class Welcome(NamedTuple):
    """The relay's terms: longest message in bytes, seconds that a client may wait, and the operator's notice.

    `rate` is in bytes per second, `quota` in bytes; None where there is no limit. `again` is the seconds after which a
    waiting client may connect again; None if the relay does not say. `load_test` is None for a relay that must not be
    loaded.
    """

    program: str
    max_message: int
    wait: int
    rate: int | None = None
    quota: int | None = None
    notice: str | None = None
    again: int | None = None
    load_test: LoadTerms | None = None


class Paired(FrozenValue):
    """The other side is there. From now on the relay copies its messages."""


class Refused(NamedTuple):
    """A refusal: a `Refusal` or a newer code, a sentence for the user, seconds after which to try again.

    `limit` is the option of the relay with the limit that was met, for the relay's operator.
    """

    code: str
    reason: str
    retry_after: int | None = None
    limit: str | None = None


Answer: TypeAlias = Welcome | Paired | Refused


class FlowReport(NamedTuple):
    """What the relay sees move, sent between the messages of a pairing.

    Attributes:
        there: the direction from this client to its partner.
        back: the direction from the partner.
        answers: False if the other client's machine does not answer the relay's packets.

    """

    there: FlowState = FlowState.MOVES
    back: FlowState = FlowState.MOVES
    answers: bool = True


def room_path(room: str) -> str:
    """Return the path of a room."""
    return f"/v1/{room}"


def room_hint(room: str) -> str:
    """Return the name for ALPN by which a room's clients are told apart before TLS: the first 8 bits of the room."""
    return f"p2p-copy-{room[:2]}"


def is_path(path: str) -> bool:
    """Return whether a relay serves this path."""
    return path == LEGACY_PATH or _ROOM_PATH.fullmatch(path) is not None


def encode(message: Hello | Answer | FlowReport) -> str:
    """Return the text of a message; a `Hello` in our own form."""
    match message:
        case Hello():
            fields: dict[str, object] = {
                "type": "hello",
                "version": limits.PROTOCOL_VERSION,
                "role": message.role.value,
                "program": message.program,
                "token": message.token,
                "features": list(message.features),
            }
            if message.claim is not None:
                fields["claim"] = message.claim
        case Welcome():
            load = message.load_test
            terms = message._asdict() | {"load_test": None if load is None else load._asdict()}
            fields = {"type": "welcome", "version": limits.PROTOCOL_VERSION, **terms}
        case Paired():
            fields = {"type": "paired"}
        case Refused():
            fields = {"type": "refused", **message._asdict()}
        case FlowReport():
            fields = {"type": "movement", **message._asdict()}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def decode_hello(message: bytes | str, path: str) -> Hello | Refused:
    """Return the hello of a client on `path`, or why it is refused. Never raises."""
    try:
        fields = _Fields.of(message)
        fields.expect_type("hello")
        if path == LEGACY_PATH:
            return Hello(role=fields.role(), room=fields.legacy_room("code_hash_hex"), legacy=True)
        if (version := fields.number("version")) != limits.PROTOCOL_VERSION:
            older = "your program" if version < limits.PROTOCOL_VERSION else "this relay"
            return Refused(Refusal.VERSION, f"This relay speaks protocol version 1: {older} is too old.")
        room = _ROOM_PATH.fullmatch(path)
        if room is None:
            raise ValueError("there is no room at this path")
        return Hello(
            role=fields.role(),
            room=room[1],
            program=fields.text("program"),
            token=fields.optional_secret("token"),
            features=fields.names("features"),
            claim=fields.optional_claim("claim"),
        )
    except (ValueError, RecursionError) as error:
        # Our own words only: the parser's would repeat what the client sent.
        cause = str(error) if type(error) is ValueError else "it is not JSON"
        return Refused(Refusal.BAD_HELLO, f"The first message is not a hello: {cause}.")


def decode_answer(message: bytes | str) -> Answer:
    """Return a relay's message.

    Raises:
        NotARelay: it is not a message of a p2p-copy relay.

    """
    try:
        fields = _Fields.of(message)
        match fields.text("type"):
            case "welcome":
                return Welcome(
                    program=fields.text("program"),
                    max_message=fields.number("max_message"),
                    wait=fields.number("wait"),
                    rate=fields.optional_number("rate"),
                    quota=fields.optional_number("quota"),
                    notice=fields.optional_text("notice"),
                    again=fields.optional_number("again"),
                    load_test=fields.optional_load_terms("load_test"),
                )
            case "paired":
                return Paired()
            case "refused":
                return Refused(
                    code=fields.text("code"),
                    reason=fields.text("reason"),
                    retry_after=fields.optional_number("retry_after"),
                    limit=fields.optional_text("limit"),
                )
            case _:
                raise ValueError("unknown type")
    except (ValueError, RecursionError):
        raise NotARelay(
            "The server there speaks WebSocket, but it is not a p2p-copy relay. Check host, port and path."
        ) from None


def decode_flow_report(text: str) -> FlowReport | None:
    """Return a relay's report between the messages of a pairing; None if it is something else. Never raises."""
    try:
        fields = _Fields.of(text)
        fields.expect_type("movement")
        return FlowReport(
            FlowState(fields.text("there")), FlowState(fields.text("back")), fields.truth("answers")
        )
    except (ValueError, RecursionError):
        return None


class _Fields:
    """One JSON object; each getter returns a field of exactly its type or raises ValueError."""

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    @classmethod
    def of(cls, message: bytes | str) -> Self:
        """Return the fields of a message."""
        if not isinstance(message, str):
            raise ValueError("it is binary")
        if len(message.encode("utf-8", "surrogatepass")) > limits.MAX_HELLO:
            raise ValueError("it is too long")
        fields = json.loads(message, object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
        if type(fields) is not dict:
            raise ValueError("it is not a JSON object")
        return cls(fields)

    def optional_load_terms(self, name: str) -> LoadTerms | None:
        if self._fields.get(name) is None:
            return None
        inner = _Fields(self._get(name, dict, "an object"))
        return LoadTerms(**{name: inner.number(name) for name in LoadTerms._fields})

    def _get(self, name: str, kind: type, what: str) -> Any:
        value = self._fields.get(name)
        if type(value) is not kind:  # a bool is an int for isinstance, and no number here
            raise ValueError(f"its {name} is not {what}")
        return value

    def expect_type(self, name: str) -> None:
        if self._get("type", str, "text") != name:
            raise ValueError("its type is another")

    def text(self, name: str) -> str:
        value: str = self._get(name, str, "text")
        return escape(value[: limits.MAX_TEXT])[: limits.MAX_TEXT]

    def optional_text(self, name: str) -> str | None:
        return None if self._fields.get(name) is None else self.text(name)

    def optional_secret(self, name: str) -> str | None:
        """Return a text unchanged: a token must not be escaped, and must not be printed."""
        return None if self._fields.get(name) is None else str(self._get(name, str, "text"))

    def optional_claim(self, name: str) -> str | None:
        value = self.optional_secret(name)
        if value is not None and not _CLAIM.fullmatch(value):
            least, most = limits.CLAIM_DIGITS
            raise ValueError(f"its {name} is not {least} to {most} lower-case hexadecimal digits")
        return value

    def number(self, name: str) -> int:
        value: int = self._get(name, int, "a whole number")
        if not 0 <= value <= _MOST:
            raise ValueError(f"its {name} is out of range")
        return value

    def truth(self, name: str) -> bool:
        value: bool = self._get(name, bool, "true or false")
        return value

    def optional_number(self, name: str) -> int | None:
        return None if self._fields.get(name) is None else self.number(name)

    def names(self, name: str) -> tuple[str, ...]:
        values = self._get(name, list, "a list")
        if len(values) > limits.MAX_FEATURES or any(type(value) is not str for value in values):
            raise ValueError(f"its {name} are not a short list of texts")
        return tuple(map(escape, values))

    def role(self) -> Role:
        value = self._get("role", str, "text")
        if value not in (Role.SENDER.value, Role.RECEIVER.value):
            raise ValueError("its role is neither sender nor receiver")
        return Role(value)

    def legacy_room(self, name: str) -> str:
        """Return the room of a 0.1.x client: any printable text, of limited length."""
        value: str = self._get(name, str, "text")
        if not (0 < len(value) <= limits.MAX_LEGACY_ROOM and value.isprintable()):
            raise ValueError(f"its {name} is not 1 to {limits.MAX_LEGACY_ROOM} printable characters")
        return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("it has a key twice")
    return fields


def _no_constant(name: str) -> None:
    raise ValueError("it has a number that is not finite")
