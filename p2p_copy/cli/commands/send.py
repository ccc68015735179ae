"""`p2p-copy send`: sends files or a stream, with an embedded relay for `--serve`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from p2p_copy import Code
from p2p_copy.api.client import AsyncClient
from p2p_copy.cli import limits, saved_transfers
from p2p_copy.cli.options import inputs
from p2p_copy.cli.options.arguments import SERVE_AUTO, STANDARD, host_port, send_words
from p2p_copy.cli.run import run_transfer
from p2p_copy.cli.ui.announcement import Announcement
from p2p_copy.cli.ui.displays import open_display, open_terminal
from p2p_copy.errors import UsageError
from p2p_copy.files.selection import Selection
from p2p_copy.files.source.entry import SourceTrees
from p2p_copy.files.state.transfers import send_command
from p2p_copy.options import SendOptions
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.transport import limits as transport_limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from p2p_copy.api.transfer import Transfer
    from p2p_copy.cli.options.client import ClientArguments, SendArguments, TransferArguments
    from p2p_copy.cli.ui.terminal import Terminal
    from p2p_copy.files.state.facts import SendCommand
    from p2p_copy.files.state.store import State
    from p2p_copy.options import Preserve


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

        selection = Selection(transfer.only, transfer.exclude)
        trees = SourceTrees(word.paths, sending.symlinks, selection)
        return would_send(trees, terminal, json=client.json)
    serve = sending.serve
    if serve and word.relay:
        raise UsageError("With --serve this side is the relay itself. Leave out the relay's URL, or --serve.")
    binds = _binds(serve) if serve else []
    relay = "" if serve else inputs.relay_of(word.relay, transfer.server)
    text = inputs.written_code(word.code, transfer.code, transfer.code_file)
    chosen = None if text is None else Code.choose(text)
    if text is not None and chosen is not None and not chosen.is_generated:
        inputs.warn_of_arguments(text, terminal, otherwise="leave it out, and send makes one")
    if pipe := STANDARD in word.paths:
        inputs.reserve_standard_input(transfer, client, terminal)
    token = None if serve else inputs.access_token(client.token_file)
    saved_transfers.check_patterns(transfer)
    options = SendOptions(
        symlinks=sending.symlinks,
        name=sending.name,
        preserve=tuple(sending.preserve),
        only=tuple(transfer.only),
        exclude=tuple(transfer.exclude),
        receipt=client.receipt,
        links=client.links or None,
    )
    command = send_command(relay, word.paths, options)
    code_words = sending.code_words
    code: Code | None = None
    if serve or pipe:  # relay or standard input end with this process, so it cannot be resumed
        code = chosen or _new_code(code_words)
        return run_send(
            None, command, code, client, terminal, token=token, binds=binds, generated=chosen is None
        )
    saved_transfers.say_if_elsewhere(client.state_dir, terminal)
    states = saved_transfers.states_in(client.state_dir, terminal)
    if chosen is not None:
        state = saved_transfers.open_state(states, command, chosen.text, terminal)
        return run_send(state, command, chosen, client, terminal, token=token)
    state = saved_transfers.same_again(states, command)
    code = _code_of(state, code_words) if state is not None and saved_transfers.is_good(state.facts) else None
    if state is not None and code is not None:
        saved_transfers.say_that_code_is_old(state, terminal)
    elif state is None or not state.facts.tickets:
        code = _new_code(code_words)
        if state is None:
            state = saved_transfers.open_state(states, command, code.text, terminal, generated=True)
        else:
            saved_transfers.keep(state, replace(state.facts, code=code.text, spent=False), terminal)
    return run_send(state, command, code, client, terminal, token=token, generated=True)


def _new_code(words: int | None) -> Code:
    return Code.generate(words=words or protocol_limits.CODE_WORDS)


def _code_of(state: State, words: int | None) -> Code | None:
    """Return a state's code; None if it has none, or if what it has is no code.

    None as well if the user wants another number of words, and no receiver has connected with the code yet.
    """
    if state.facts.code is None:
        return None
    try:
        code = Code.parse(state.facts.code)
    except UsageError:
        return None
    return code if words in {None, code.words} or state.facts.tickets else None


def run_send(
    state: State | None,
    command: SendCommand,
    code: Code | None,
    client: ClientArguments,
    terminal: Terminal,
    *,
    token: str | None,
    binds: Sequence[tuple[str, int]] = (),
    generated: bool = False,
) -> int:
    """Send what `command` describes, with the saved `state` if there is one, and return exit code 0.

    With `binds` the relay runs in this process, at the first of them that is free. A `generated` code is shown, because
    the receiver's user does not know it yet. Raises what `send` raises.
    """
    display = open_display(terminal, client, state, sends=True)
    options = saved_transfers.options_now(command.options, client)
    if state is not None:
        saved_transfers.say_that_it_resumes(state, terminal)
    met = state is not None and state.facts.sure

    def through(
        relay: str, relay_elsewhere: str, on_room: Callable[[str], None] | None = None
    ) -> AbstractAsyncContextManager[Transfer]:
        announcement = None
        if not met and code is not None:
            words = _receiver_command(relay_elsewhere, options.preserve)
            announcement = Announcement(
                code.text if generated else None, words, is_vital=generated or bool(binds)
            )
        display.start(announcement)
        access = AsyncClient(relay, token=token, ca_file=client.ca_file)
        return access._open_saved_send(command.paths, code, options, state, on_room)

    @asynccontextmanager
    async def through_own_relay() -> AsyncIterator[Transfer]:
        from p2p_copy.cli.embedded_relay import OwnRooms, embedded_relay  # slow: imports the whole relay

        assert code is not None, "a transfer through an embedded relay is never resumed"
        rooms = OwnRooms(code)
        async with (
            embedded_relay(binds, rooms) as (here, elsewhere),
            through(here, elsewhere, rooms.add) as transfer,
        ):
            yield transfer

    opened = through_own_relay() if binds else through(command.relay, command.relay)
    return run_transfer(
        opened, display, client.deadline, resume_id=None if state is None else saved_transfers.short(state.id)
    )


def _binds(serve: str) -> list[tuple[str, int]]:
    """Return the hosts and ports to listen at, in the order of preference; an empty host is all of IPv4."""
    if serve == SERVE_AUTO:
        return [("", limits.SERVE_PORT), ("", 0)]
    bind = host_port(serve)
    if bind is None:
        raise UsageError(
            "--serve takes HOST:PORT, [IPV6]:PORT, :PORT or nothing. A PORT is a number from 0 to "
            f"{transport_limits.MAX_PORT}."
        )
    return [bind]


def _receiver_command(relay: str, preserve: Sequence[Preserve]) -> tuple[str, ...]:
    """Return the words of the command for the other machine, without the code: it asks for it.

    As an argument it would be in the list of processes of the other machine.
    """
    kept = ("--preserve", ",".join(one.value for one in preserve)) if preserve else ()
    return ("p2p-copy", "receive", "--server", relay, *kept)
