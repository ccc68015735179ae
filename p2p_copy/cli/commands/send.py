"""`p2p-copy send`: sends files or a stream, with an embedded relay for `--serve`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from p2p_copy import CODE_WORDS, AsyncClient, Client, Code, Standard
from p2p_copy.cli import limits, saved_transfers
from p2p_copy.cli.options import inputs
from p2p_copy.cli.options.arguments import SERVE_AUTO, STANDARD, host_port, send_words
from p2p_copy.cli.run import run_transfer
from p2p_copy.cli.ui.announcement import Announcement
from p2p_copy.cli.ui.displays import open_display, open_terminal
from p2p_copy.errors import UsageError
from p2p_copy.transport.proxy_address import DIRECT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from p2p_copy import Rooms, SavedTransfer, Transfer
    from p2p_copy.api.keywords import SendKeywords
    from p2p_copy.api.work import Verify
    from p2p_copy.cli.options.client import ClientArguments, SendArguments, TransferArguments
    from p2p_copy.cli.ui.displays import Display
    from p2p_copy.cli.ui.terminal import Terminal
    from p2p_copy.options import Preserve

    Open = Callable[[AsyncClient, Code, Rooms | None], AbstractAsyncContextManager[Transfer]]
    """Opens the transfer of this command at a relay."""


def send(
    words: Sequence[str], transfer: TransferArguments, client: ClientArguments, sending: SendArguments
) -> int:
    """Send and return exit code 0.

    Raises:
        PartialTransfer: not everything was delivered.
        P2PCopyError: nothing, or nothing more, was delivered.

    """
    terminal = open_terminal(client)
    word = send_words(words)
    if STANDARD in word.paths:
        transfer = inputs.for_pipe(transfer)
    if transfer.dry_run:
        from p2p_copy.cli.commands.dry_run import would_send

        return would_send(word.paths, sending.symlinks, transfer, terminal, json=client.json)
    serve = sending.serve
    if serve and word.relay:
        raise UsageError("With --serve this side is the relay itself. Leave out the relay's URL, or --serve.")
    binds = _binds(serve) if serve else []
    relays = () if serve else inputs.relays_of(word.relay, transfer.server)
    inputs.check_that_words_can_be_compared(terminal, wanted=transfer.verify)
    sharing = None
    if sending.qr or sending.copy or sending.link:
        from p2p_copy.cli.ui.sharing import Sharing

        sharing = Sharing(terminal, sending, relays, json=client.json)
    text = inputs.written_code(word.code, transfer.code, transfer.code_file)
    chosen = None if text is None else Code.choose(text)
    if text is not None and chosen is not None and not chosen.is_generated:
        inputs.warn_of_arguments(text, terminal, otherwise="leave it out, and send makes one")
    if pipe := STANDARD in word.paths:
        if len(word.paths) > 1:
            raise UsageError(
                "'-' is standard input, and is sent alone. A file of that name is written as ./-"
            )
        inputs.reserve_standard_input(transfer, client, terminal)
    access = () if serve else inputs.access_to(relays, client, terminal)
    options: SendKeywords = {
        "symlinks": sending.symlinks,
        "name": sending.name,
        "preserve": sending.preserve,
        "only": transfer.only,
        "exclude": transfer.exclude,
        "receipt": client.receipt,
        "links": client.links or None,
        "wait": client.wait,
        "patience": client.patience,
        "limit_rate": client.limit_rate,
    }

    def opened(via: AsyncClient, code: Code, rooms: Rooms | None) -> AbstractAsyncContextManager[Transfer]:
        if pipe:
            return via.open_send_stream(Standard.INPUT, code=code, rooms=rooms, **options)
        verify = _comparison(terminal, display) if transfer.verify else None
        return via.open_send(word.paths, code=code, verify=verify, rooms=rooms, **options)

    if not serve and not pipe:  # relay and standard input end with this process, so it could not be resumed
        state_dir = saved_transfers.directory(client.state_dir, terminal)
        saving = Client(access, state_dir=state_dir)
        saved = saved_transfers.begin(
            saving,
            lambda: saving.save_send(
                word.paths, code=chosen, words=sending.code_words, verify=transfer.verify, **options
            ),
            chosen,
            terminal,
        )
        if saved is not None:
            display = open_display(terminal, client, saved.id, sends=True)
            announcement = announcement_of(saved, chosen)
            known = chosen or saved.code
            if sharing is not None and announcement is not None and known is not None:
                announcement = sharing.complete(announcement, known.text)
            display.start(announcement)
            verify = _comparison(terminal, display) if transfer.verify else None
            return saved_transfers.run_saved(
                saved,
                AsyncClient(access, state_dir=state_dir),
                client,
                display,
                code=chosen,
                verify=verify,
            )
    display = open_display(terminal, client, None, sends=True)
    code = chosen or Code.generate(words=sending.code_words or CODE_WORDS)

    def announce(*addresses: str) -> None:
        new = None if chosen is not None else code.text
        words = _receiver_command(addresses, sending.preserve)
        if serve:
            terminal.say(f"Listening for the receiver at {addresses[0]}.")
        announcement = Announcement(new, words, is_vital=bool(serve) or chosen is None)
        if sharing is not None:
            announcement = sharing.complete(announcement, code.text)
        display.start(announcement)

    if serve:
        serving = _through_own_relay(binds, opened, code, announce, client.ca_file)
        return run_transfer(serving, display, client.deadline, resume_id=None)
    announce(*relays)
    return run_transfer(opened(AsyncClient(access), code, None), display, client.deadline, resume_id=None)


def _comparison(terminal: Terminal, display: Display) -> Verify | None:
    """Return what asks the user whether the other side shows the same words; None if nothing can be asked."""
    from p2p_copy.cli.ui.prompt import comparison, yes_no_at  # most transfers ask nothing

    return comparison(yes_no_at(terminal, display))


def announcement_of(saved: SavedTransfer, chosen: Code | None = None) -> Announcement | None:
    """Return what the receiver's user must know of a saved transfer; None if both sides have met.

    A `chosen` code, the user's own, is known to the receiver's user, and is not shown.
    """
    if saved.met or saved.options is None or (chosen is None and saved.code is None):
        return None
    new = saved.code.text if chosen is None and saved.code is not None else None
    words = _receiver_command(saved.relays, saved.options.preserve)
    return Announcement(new, words, is_vital=new is not None)


@asynccontextmanager
async def _through_own_relay(
    binds: Sequence[tuple[str, int]],
    opened: Open,
    code: Code,
    announce: Callable[[str], None],
    ca_file: str | None,
) -> AsyncIterator[Transfer]:
    """Run a transfer beside a relay of its own, at the first of `binds` that is free."""
    from p2p_copy import Rooms
    from p2p_copy.cli.embedded_relay import embedded_relay  # slow: imports the whole relay

    rooms = Rooms(code)
    async with embedded_relay(binds, rooms) as (here, elsewhere):
        announce(elsewhere)
        async with opened(AsyncClient(here, ca_file=ca_file, proxy=DIRECT), code, rooms) as transfer:
            yield transfer


def _binds(serve: str) -> list[tuple[str, int]]:
    """Return the hosts and ports to listen at, in the order of preference; an empty host is all of IPv4."""
    if serve == SERVE_AUTO:
        return [("", limits.SERVE_PORT), ("", 0)]
    bind = host_port(serve)
    if bind is None:
        raise UsageError(
            "--serve takes HOST:PORT, [IPV6]:PORT, :PORT or nothing. A PORT is a number from 0 to "
            f"{limits.MAX_PORT}."
        )
    return [bind]


def _receiver_command(relays: Sequence[str], preserve: Sequence[Preserve]) -> tuple[str, ...]:
    """Return the words of the command for the other machine, without the code: it asks for it.

    As an argument it would be in the list of processes of the other machine.
    """
    kept = ("--preserve", ",".join(one.value for one in preserve)) if preserve else ()
    servers = (word for relay in relays for word in ("--server", relay))
    return ("p2p-copy", "receive", *servers, *kept)
