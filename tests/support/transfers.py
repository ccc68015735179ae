"""Whole transfers for tests: a real relay on a loopback port, a real sender, a real receiver, one process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from p2p_copy.observer import Observer, Report
from p2p_copy.options import ReceiveOptions, RelayAccess, SendOptions
from p2p_copy.protocol.code import Code
from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.server import prepared
from p2p_copy.transfer import receive as receiver, send as sender
from tests.support.websocket import let_pass

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

CODE = Code("lab", "a long passphrase")


async def send(paths: Any, *, relay: str | Sequence[str], code: Any, **given: Any) -> Report:
    """Send with all options as keyword arguments."""
    relays, options, more = _parted(relay, given)
    return await sender.send(paths, relays, code, SendOptions(**options), **more)


async def receive(out: Any, *, relay: str | Sequence[str], code: Any, **given: Any) -> Report:
    """Receive with all options as keyword arguments."""
    relays, options, more = _parted(relay, given)
    return await receiver.receive(out, relays, code, ReceiveOptions(**options), **more)


def _parted(
    relay: str | Sequence[str], given: dict[str, Any]
) -> tuple[list[RelayAccess], dict[str, Any], dict[str, Any]]:
    """Return how to reach each relay, the options, and the other arguments."""
    options = dict(given)
    known = {
        name: options.pop(name) for name in ("ca_file", "token", "proxy", "variables") if name in options
    }
    relays = [RelayAccess(url, **known) for url in ([relay] if isinstance(relay, str) else relay)]
    others = [
        name
        for name in (
            "state",
            "observer",
            "ask",
            "ask_delete",
            "ask_replace",
            "on_room",
            "beside",
            "source",
            "sink",
            "verify",
        )
        if name in options
    ]
    return relays, options, {name: options.pop(name) for name in others}


@asynccontextmanager
async def running_relay(**settings: Any) -> AsyncIterator[str]:
    """Run a relay; yield its address."""
    server = await prepared(RelayConfig("127.0.0.1", 0, **settings))
    async with trio.open_nursery() as nursery:
        bound = await nursery.start(server.run)
        scheme = "wss" if "certfile" in settings else "ws"
        yield f"{scheme}://127.0.0.1:{bound[0][1]}"
        nursery.cancel_scope.cancel()


class Told(Observer):
    """Records what it is told."""

    def __init__(self) -> None:
        self.problems: dict[str, str] = {}
        self.left: list[str] = []
        self.gone: list[str] = []
        self.totals: list[tuple[int, int]] = []
        self.last = (0, 0)
        self.paths: list[str] = []
        self.saved = 0
        self.states: list[str] = []
        self.waits: list[float] = []
        self.notices: list[str] = []
        self.stalls: list[str] = []
        self.widths: list[int] = []
        self.words: list[tuple[tuple[str, str], bool]] = []
        self.on_progress: Callable[[int, int], None] = lambda files, size: None

    def connecting(self, relay: str, proxy: str | None = None) -> None:
        self.states.append("connecting")

    def waiting(self, relay: str, seconds: float) -> None:
        self.states.append("waiting")
        self.waits.append(seconds)

    def stalled(self, sentence: str, seconds: float) -> None:
        self.stalls.append(sentence)

    def moving(self) -> None:
        self.stalls.append("moving")

    def notice(self, sentence: str) -> None:
        self.notices.append(sentence)

    def paired(self, words: tuple[str, str], peer_verifies: bool) -> None:
        self.states.append("paired")
        self.words.append((words, peer_verifies))

    def asked(self) -> None:
        self.states.append("asked")

    def accepted(self) -> None:
        self.states.append("accepted")

    def declined(self, wait: float) -> None:
        self.states.append("declined")

    def links(self, count: int) -> None:
        self.widths.append(count)

    def verifying(self) -> None:
        self.states.append("verifying")

    def total(self, files: int, size: int) -> None:
        self.totals.append((files, size))

    def spared(self, size: int) -> None:
        self.saved = size

    def progress(self, files: int, size: int, path: str = "") -> None:
        self.last = (files, size)
        self.paths.append(path)
        self.on_progress(files, size)

    def problem(self, path: str, sentence: str) -> None:
        self.problems[path] = sentence

    def skipped(self, path: str) -> None:
        self.left.append(path)

    def deleted(self, path: str) -> None:
        self.gone.append(path)


class Both:
    """The outcome of both sides: a report or an exception each, and what their observers were told."""

    def __init__(self) -> None:
        self.sent: Report | Exception | None = None
        self.received: Report | Exception | None = None
        self.sender = Told()
        self.receiver = Told()

    @property
    def reports(self) -> tuple[Report, Report]:
        for outcome in (self.sent, self.received):
            if isinstance(outcome, Exception):
                raise outcome
        assert isinstance(self.sent, Report)
        assert isinstance(self.received, Report)
        return self.sent, self.received


async def wait_in_vain(both: Both, seconds: float) -> None:
    """Let the `seconds` pass in movable time for which the sender waits on, once the receiver has ended."""
    while both.received is None:  # noqa: ASYNC110
        await trio.sleep(0.01)
    await let_pass(seconds)


async def copy(
    paths: Sequence[Path | str],
    out: Path,
    *,
    relay: str | None = None,
    code: Code = CODE,
    receiver_code: Code | None = None,
    both: Both | None = None,
    sending: dict[str, Any] | None = None,
    receiving: dict[str, Any] | None = None,
) -> Both:
    """Send `paths` into `out`; start a relay if none is given. Without a `patience` neither side reconnects."""
    if relay is None:
        async with running_relay() as relay:
            return await copy(
                paths,
                out,
                relay=relay,
                code=code,
                receiver_code=receiver_code,
                both=both,
                sending=sending,
                receiving=receiving,
            )
    result = both or Both()

    async def ending(work: Awaitable[Report]) -> Report | Exception:
        try:
            return await work
        except Exception as error:
            return error

    async def sender() -> None:
        result.sent = await ending(
            send(
                [str(path) for path in paths],
                relay=relay,
                code=code,
                observer=result.sender,
                **{"patience": 0, **(sending or {})},
            )
        )

    async def receiver() -> None:
        result.received = await ending(
            receive(
                str(out),
                relay=relay,
                code=receiver_code or code,
                observer=result.receiver,
                **{"patience": 0, **(receiving or {})},
            )
        )

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender)
            nursery.start_soon(receiver)
    return result
