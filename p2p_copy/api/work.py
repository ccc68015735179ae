"""What a client's calls ask for, as functions that run one transfer each: arguments checked, the saved state opened.

Each side is imported when it is asked for, since many programs, and each command, need only one.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from p2p_copy.errors import UsageError
from p2p_copy.files.state.store import States
from p2p_copy.files.state.transfers import check_private, open_transfer, receive_command, send_command
from p2p_copy.files.stdio import STANDARD, StandardInput, StandardOutput
from p2p_copy.files.user_paths import as_path, as_paths
from p2p_copy.options import ReceiveOptions, RelayAccess, SendOptions
from p2p_copy.protocol.code import Code
from p2p_copy.protocol.escape import escape

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
    from os import PathLike

    from p2p_copy.api.callers import Caller
    from p2p_copy.api.streams import Chunk, ChunkSink
    from p2p_copy.api.transfer import Work
    from p2p_copy.files.state.facts import Command
    from p2p_copy.files.state.store import State
    from p2p_copy.files.stdio import Sink, Source
    from p2p_copy.observer import Ask, Observer, Report, TransferPreview
    from p2p_copy.transfer.lifecycle import Helpers

    Accept = Callable[[TransferPreview], Awaitable[bool] | bool]
    """Answers whether to receive what a sender has; may be asynchronous."""

    OpenState = Callable[[], Awaitable[State | None]]
    """Opens what is saved of a transfer; None if nothing is."""

    Paths = str | PathLike[str] | Iterable[str | PathLike[str]]
    """One path, or several."""


class ClientSettings:
    """What all transfers of one client have in common.

    Raises:
        TypeError: `ca_file` or `state_dir` is no path.

    """

    def __init__(
        self,
        relay: str,
        token: str | None,
        ca_file: str | PathLike[str] | None,
        state_dir: str | PathLike[str] | None,
    ) -> None:
        self.access = RelayAccess(relay, ca_file, token)
        self._state_dir = None if state_dir is None else as_path(state_dir)

    def send(self, paths: Paths, code: Code, given: Any) -> Work:
        """Return how to send files and directories, with these keyword arguments.

        Raises:
            ValueError, TypeError: an argument is out of range, of the wrong type, or unknown.
            UsageError: a path is "-": streams have methods of their own.

        """
        options, sources = SendOptions(**given), as_paths(paths)
        _check(code, sources)
        command = send_command(self.access.url, sources, options)
        return self.send_saved(sources, code, options, partial(self._open, command, code))

    def send_saved(
        self,
        paths: Sequence[str],
        code: Code | None,
        options: SendOptions,
        open_state: OpenState,
        on_room: Callable[[str], None] | None = None,
        source: Callable[[str], Source] = StandardInput,
    ) -> Work:
        """Return how to send with what `open_state` returns; for the other arguments see `transfer.send.send`."""
        from p2p_copy.transfer.send import send

        async def work(observer: Observer, beside: Helpers) -> Report:
            return await send(
                paths,
                self.access,
                code,
                options,
                state=await open_state(),
                observer=observer,
                on_room=on_room,
                beside=beside,
                source=source,
            )

        return work

    def receive(
        self, out: str | PathLike[str], code: Code, accept: Accept | None, given: Any, caller: Caller
    ) -> Work:
        """Return how to receive into a directory, with these keyword arguments; for what is raised see `send`."""
        options, place = _receive_options(given), as_path(out)
        _check(code, (place,))
        command = receive_command(self.access.url, place, options)
        ask = _asking(accept, caller)
        return self.receive_saved(place, code, options, partial(self._open, command, code), ask)

    def receive_saved(
        self,
        out: str,
        code: Code | None,
        options: ReceiveOptions,
        open_state: OpenState,
        ask: Ask | None,
        sink: Callable[[], Sink] = StandardOutput,
    ) -> Work:
        """Return how to receive with what `open_state` returns; for the others see `transfer.receive.receive`."""
        from p2p_copy.transfer.receive import receive

        async def work(observer: Observer, beside: Helpers) -> Report:
            return await receive(
                out,
                self.access,
                code,
                options,
                state=await open_state(),
                ask=ask,
                observer=observer,
                beside=beside,
                sink=sink,
            )

        return work

    def send_stream(self, chunks: AsyncIterable[Chunk], code: Code, given: Any, caller: Caller) -> Work:
        """Return how to send chunks, with these keyword arguments; for what is raised see `send`."""
        from p2p_copy.api.streams import ChunkSource

        options = SendOptions(**given)
        _check(code, ())
        return self.send_saved(
            (STANDARD,), code, options, _no_state, source=lambda name: ChunkSource(chunks, caller, name)
        )

    def receive_stream(
        self, sink: ChunkSink, code: Code, accept: Accept | None, given: Any, caller: Caller
    ) -> Work:
        """Return how to receive a stream, with these keyword arguments; for what is raised see `send`."""
        options = _receive_options(given)
        _check(code, ())
        ask = _asking(accept, caller)
        return self.receive_saved(STANDARD, code, options, _no_state, ask, sink=lambda: sink)

    async def _open(self, command: Command, code: Code) -> State | None:
        """Return the saved state of a transfer; None if this client saves none.

        Raises:
            UsageError: it cannot be saved there, or another process is running the transfer.

        """
        if self._state_dir is None:
            return None
        states = States(self._state_dir)

        def find() -> State:
            check_private(states.directory)
            try:
                return open_transfer(states, command, code.text)[0]
            except OSError as error:
                what = f"in {escape(states.directory)}: {error.strerror}"
            except ValueError:
                what = "because too many paths are named. Name a directory above them instead"
            raise UsageError(f"The transfer cannot be saved {what}.")

        return await trio.to_thread.run_sync(find)


async def _no_state() -> None:
    """Open nothing: a stream has no saved state."""


def _receive_options(given: dict[str, Any]) -> ReceiveOptions:
    options = dict(given)
    if "on_conflict" in options:
        options["conflict"] = options.pop("on_conflict")
    return ReceiveOptions(**options)


def _check(code: Code, paths: tuple[str, ...]) -> None:
    if not isinstance(code, Code):
        raise TypeError("a code is a p2p_copy.Code: use Code.parse(text) or Code.generate()")
    if STANDARD in paths:
        raise UsageError(
            "'-' is no path here. A file of that name is './-', and a stream has methods of its own."
        )


def _asking(accept: Accept | None, caller: Caller) -> Ask | None:
    if accept is None:
        return None

    async def ask(offer: TransferPreview) -> bool:
        return bool(await caller.call(accept, offer))

    return ask
