"""What a client's calls ask for, as functions that run one transfer each: arguments checked, the saved state opened.

Each side is imported when it is asked for, since many programs, and each command, need only one.
"""

from __future__ import annotations

import dataclasses
import os
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import trio

from p2p_copy.api.saved import SavedTransfers, saved_code
from p2p_copy.errors import UsageError
from p2p_copy.files.selection import Selection
from p2p_copy.files.state.facts import SendCommand
from p2p_copy.files.state.transfers import receive_command, send_command
from p2p_copy.files.stdio import STANDARD, StandardInput, StandardOutput
from p2p_copy.files.user_paths import as_path, as_paths
from p2p_copy.observer import UNANSWERED
from p2p_copy.options import MAX_RELAYS, ReceiveOptions, RelayAccess, SendOptions, Standard
from p2p_copy.protocol.code import Code
from p2p_copy.transport.address import parse_address
from p2p_copy.transport.certificate import pin_for
from p2p_copy.transport.proxy_address import parse_proxy
from p2p_copy.value import NamedTuple, replace

Shown = TypeVar("Shown")

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
    from os import PathLike

    from p2p_copy.api.callers import Caller
    from p2p_copy.api.rooms import Rooms
    from p2p_copy.api.saved import SavedTransfer
    from p2p_copy.api.streams import Chunk
    from p2p_copy.api.transfer import Work
    from p2p_copy.files.state.facts import Command, ReceiveCommand
    from p2p_copy.files.state.store import State
    from p2p_copy.files.stdio import Sink, Source
    from p2p_copy.observer import (
        Ask,
        AskDelete,
        AskReplace,
        Deletion,
        Observer,
        Report,
        TransferPreview,
        Verify as Compare,
    )
    from p2p_copy.options import TransferOptions
    from p2p_copy.transfer.lifecycle import Helpers

    Accept = Callable[[TransferPreview], Awaitable[bool] | bool]
    """Answers whether to receive what a sender has; may be asynchronous."""

    AcceptDeletion = Callable[[Deletion], Awaitable[bool] | bool]
    """Answers whether to delete what a sender does not have; may be asynchronous."""

    AcceptReplacement = Callable[[str], Awaitable[bool] | bool]
    """Answers whether to replace the file with this escaped path; may be asynchronous."""

    Verify = Callable[[tuple[str, str]], Awaitable[bool] | bool]
    """Answers whether the other side shows the same two words; may be asynchronous."""

    Paths = str | PathLike[str] | Iterable[str | PathLike[str]]
    """One path, or several."""

    Relays = str | RelayAccess | Iterable[str | RelayAccess]
    """One relay, or several: each by its address, or with what is for it alone."""

    Out = str | PathLike[str] | Literal[Standard.OUTPUT]
    """A directory, or standard output."""

    Chunks = AsyncIterable[Chunk] | Literal[Standard.INPUT]
    """A stream of a program, or standard input."""


class ClientSettings:
    """What all transfers of one client have in common.

    Raises:
        TypeError: `ca_file` or `state_dir` is no path, or `proxy` no text.
        UsageError: `relay` is no address of a relay, or there are too many, `proxy` is none of a proxy, or `pin` no
            digest, or the relay is reached without TLS, so that a `pin` would have no effect.

    """

    def __init__(
        self,
        relay: Relays | None,
        token: str | None,
        ca_file: str | PathLike[str] | None,
        pin: str | None,
        proxy: str | None,
        state_dir: str | PathLike[str] | None,
    ) -> None:
        self._any_relay = RelayAccess("", ca_file, token, proxy, os.environ, pin)
        given = () if relay is None else (relay,) if isinstance(relay, str | RelayAccess) else tuple(relay)
        self._relays = tuple(self._access(each) for each in given)
        if len(self._relays) > MAX_RELAYS:
            raise UsageError(f"There are {len(self._relays)} relays; a transfer can use {MAX_RELAYS}.")
        _check_access(self._any_relay)
        for each in self._relays:
            parse_address(each.url)
            _check_access(each)
        self._state_dir = None if state_dir is None else as_path(state_dir)

    # New transfers, which are resumed if they are saved

    def send(
        self,
        paths: Paths,
        code: Code,
        verify: Verify | None,
        given: Any,
        caller: Caller,
        rooms: Rooms | None = None,
    ) -> Work:
        """Return how to send files and directories, with these keyword arguments; `rooms` hears of its rooms.

        Raises:
            ValueError, TypeError: an argument is out of range, of the wrong type, or unknown.
            UsageError: an argument cannot be used; the client has no relay.

        """
        command, options = self._send_command(paths, given, verify=verify is not None)
        _check_code(code)
        compare = _asking(verify, caller)

        async def work(observer: Observer, beside: Helpers) -> Report:
            state = await self._state_of(command, code, observer)
            return await self._send(
                command.paths, code, options, compare, observer, beside, state=state, rooms=rooms
            )

        return work

    def receive(
        self,
        out: Out,
        code: Code,
        accept: Accept | None,
        verify: Verify | None,
        accept_deletion: AcceptDeletion | None,
        accept_replacement: AcceptReplacement | None,
        given: Any,
        caller: Caller,
    ) -> Work:
        """Return how to receive into a directory, with these keyword arguments; for what is raised see `send`."""
        if out is Standard.OUTPUT:
            return self.receive_stream(StandardOutput, code, accept, verify, given, caller)
        command, options = self._receive_command(out, given, verify=verify is not None)
        _check_code(code)
        asks = _Asks(
            _asking(accept, caller),
            _asking(verify, caller),
            _asking(accept_deletion, caller),
            _asking(accept_replacement, caller),
        )

        async def work(observer: Observer, beside: Helpers) -> Report:
            state = await self._state_of(command, code, observer)
            return await self._receive(command.out, code, options, asks, observer, beside, state=state)

        return work

    def send_stream(
        self,
        chunks: Chunks,
        code: Code,
        verify: Verify | None,
        given: Any,
        caller: Caller,
        rooms: Rooms | None = None,
    ) -> Work:
        """Return how to send chunks, with these keyword arguments; for what is raised see `send`."""
        options = SendOptions(**given)
        _check_code(code)
        self._check_relay()
        source: Callable[[str], Source] = StandardInput
        if chunks is not Standard.INPUT:
            from p2p_copy.api.streams import ChunkSource

            source = partial(ChunkSource, chunks, caller)
        compare = _asking(verify, caller)

        async def work(observer: Observer, beside: Helpers) -> Report:
            return await self._send(
                (STANDARD,), code, options, compare, observer, beside, source=source, rooms=rooms
            )

        return work

    def receive_stream(
        self,
        sink: Callable[[], Sink],
        code: Code,
        accept: Accept | None,
        verify: Verify | None,
        given: Any,
        caller: Caller,
    ) -> Work:
        """Return how to receive a stream, with these keyword arguments; for what is raised see `send`."""
        options = _receive_options(given)
        _check_code(code)
        self._check_relay()
        asks = _Asks(_asking(accept, caller), _asking(verify, caller))

        async def work(observer: Observer, beside: Helpers) -> Report:
            return await self._receive(STANDARD, code, options, asks, observer, beside, sink=sink)

        return work

    # Saved transfers

    def resume(
        self,
        id_: str,
        code: Code | None,
        accept: Accept | None,
        verify: Verify | None,
        accept_deletion: AcceptDeletion | None,
        accept_replacement: AcceptReplacement | None,
        given: Any,
        caller: Caller,
    ) -> Work:
        """Return how to resume a saved transfer, with these keyword arguments; for what is raised see `send`."""
        if code is not None:
            _check_code(code)
        saved = self.saved_transfers()
        compare = _asking(verify, caller)
        asks = _Asks(
            _asking(accept, caller),
            compare,
            _asking(accept_deletion, caller),
            _asking(accept_replacement, caller),
        )

        async def work(observer: Observer, beside: Helpers) -> Report:
            state = await trio.to_thread.run_sync(saved.open, id_)
            try:
                command, known = state.facts.command, code or saved_code(state.facts)
                if command is None or (known is None and not state.facts.tickets):
                    raise UsageError(
                        "The two sides of that transfer have not connected yet, and its code is not saved. Begin it "
                        "again, with the code."
                    )
                if code is not None:
                    saved.check_code(state, code)
                if command.verify and compare is None:
                    raise UsageError(
                        "That transfer was begun with `verify`: before anything is transferred, the words of both "
                        "sides are to be compared. Resume it with `verify`, too."
                    )
                relays = self._relays_of(command)
                run: Work
                if isinstance(command, SendCommand):
                    sending = replace(command.options, **given)
                    run = partial(
                        self._send, command.paths, known, sending, compare, state=state, relays=relays
                    )
                else:
                    receiving = replace(command.options, **given)
                    run = partial(
                        self._receive, command.out, known, receiving, asks, state=state, relays=relays
                    )
            except BaseException:
                state.close()
                raise
            _say_notice(saved, observer)
            return await run(observer, beside)

        return work

    def saved_transfers(self) -> SavedTransfers:
        """Return what is saved in the client's directory.

        Raises:
            UsageError: it has none, or other users may write there.

        """
        if self._state_dir is None:
            raise UsageError("Nothing is saved by this client: it was made without a `state_dir`.")
        return SavedTransfers(self._state_dir)

    def save_send(
        self, paths: Paths, code: Code | None, words: int | None, verify: bool, given: Any
    ) -> SavedTransfer:
        """Save a transfer that sends; for the arguments and what is raised see `AsyncClient.save_send`."""
        command, _ = self._send_command(paths, given, verify=verify)
        if code is not None:
            _check_code(code)
        return self.saved_transfers().save(command, code, words)

    def save_receive(self, out: str | PathLike[str], code: Code, verify: bool, given: Any) -> SavedTransfer:
        """Save a transfer that receives; for the arguments and what is raised see `AsyncClient.save_send`."""
        command, _ = self._receive_command(out, given, verify=verify)
        _check_code(code)
        return self.saved_transfers().save(command, code)

    # What they share

    def _send_command(self, paths: Paths, given: Any, *, verify: bool) -> tuple[SendCommand, SendOptions]:
        options, sources = SendOptions(**given), as_paths(paths)
        self._check(options, sources)
        return send_command(self._relays, sources, options, verify=verify), options

    def _receive_command(
        self, out: str | PathLike[str], given: Any, *, verify: bool
    ) -> tuple[ReceiveCommand, ReceiveOptions]:
        options, place = _receive_options(given), as_path(out)
        self._check(options, (place,))
        return receive_command(self._relays, place, options, verify=verify), options

    def _access(self, relay: str | RelayAccess) -> RelayAccess:
        """Return how to reach a relay: one that is only named, as the client says for all."""
        if isinstance(relay, str):
            return dataclasses.replace(self._any_relay, url=relay)
        return dataclasses.replace(relay, variables=os.environ)

    def _relays_of(self, command: Command) -> tuple[RelayAccess, ...]:
        """Return how to reach the relays of a saved transfer: as it was begun, unless this client says otherwise.

        Raises:
            UsageError: there is a pin that cannot be used.

        """
        given = {each.url: each for each in self._relays}
        saved = {each.url: each.pin for each in command.relays}
        if given and given.keys() != saved.keys():
            return self._relays
        relays = [given.get(url) or self._access(url) for url in saved]
        relays = [dataclasses.replace(each, pin=each.pin or saved[each.url]) for each in relays]
        for each in relays:
            _check_access(each)
        return tuple(relays)

    def _check(self, options: TransferOptions, paths: tuple[str, ...]) -> None:
        if STANDARD in paths:
            raise UsageError(
                "'-' is no path here. A file of that name is './-', and a stream has methods of its own."
            )
        Selection(options.only, options.exclude)
        self._check_relay()

    def _check_relay(self) -> None:
        if not self._relays:
            raise UsageError("This client was made without a `relay`, so it can only resume saved transfers.")

    async def _state_of(self, command: Command, code: Code, observer: Observer) -> State | None:
        """Return the saved state of a transfer; None if this client saves none.

        Raises:
            UsageError: it cannot be saved there, or another process is running the transfer.

        """
        if self._state_dir is None:
            return None
        saved = self.saved_transfers()
        _say_notice(saved, observer)
        return await trio.to_thread.run_sync(saved.open_same, command, code)

    async def _send(
        self,
        paths: Sequence[str],
        code: Code | None,
        options: SendOptions,
        compare: Compare | None,
        observer: Observer,
        beside: Helpers,
        *,
        state: State | None = None,
        relays: Sequence[RelayAccess] | None = None,
        source: Callable[[str], Source] = StandardInput,
        rooms: Rooms | None = None,
    ) -> Report:
        from p2p_copy.transfer.send import send

        return await send(
            paths,
            relays or self._relays,
            code,
            options,
            state=state,
            observer=observer,
            on_room=None if rooms is None else rooms.add,
            beside=beside,
            source=source,
            verify=compare,
        )

    async def _receive(
        self,
        out: str,
        code: Code | None,
        options: ReceiveOptions,
        asks: _Asks,
        observer: Observer,
        beside: Helpers,
        *,
        state: State | None = None,
        relays: Sequence[RelayAccess] | None = None,
        sink: Callable[[], Sink] = StandardOutput,
    ) -> Report:
        from p2p_copy.transfer.receive import receive

        return await receive(
            out,
            relays or self._relays,
            code,
            options,
            state=state,
            ask=asks.accept,
            verify=asks.verify,
            ask_delete=asks.delete,
            ask_replace=asks.replace,
            observer=observer,
            beside=beside,
            sink=sink,
        )


def _say_notice(saved: SavedTransfers, observer: Observer) -> None:
    if (sentence := saved.notice) is not None:
        observer.notice(sentence)


def _receive_options(given: dict[str, Any]) -> ReceiveOptions:
    options = dict(given)
    if "on_conflict" in options:
        options["conflict"] = options.pop("on_conflict")
    return ReceiveOptions(**options)


def _check_access(relay: RelayAccess) -> None:
    """Check the address of a relay if there is one, that of its proxy, and its pin.

    Raises:
        UsageError: one has the wrong form, or there will be no key to compare with the pin.

    """
    address = parse_address(relay.url) if relay.url else None
    if relay.proxy is not None:
        parse_proxy(relay.proxy)
    pin_for(relay.pin, tls=address is None or address.tls)


def _check_code(code: Code) -> None:
    if not isinstance(code, Code):
        raise TypeError("a code is a p2p_copy.Code: use Code.parse(text) or Code.generate()")


class _Asks(NamedTuple):
    """What asks the program."""

    accept: Ask | None
    verify: Compare | None
    delete: AskDelete | None = None
    replace: AskReplace | None = None


def _asking(
    answer: Callable[[Shown], Awaitable[bool] | bool] | None, caller: Caller
) -> Callable[[Shown], Awaitable[bool]] | None:
    if answer is None:
        return None

    async def ask(shown: Shown) -> bool:
        try:
            return bool(await caller.call(answer, shown))
        except Exception as error:
            error.add_note(UNANSWERED)
            raise

    return ask
