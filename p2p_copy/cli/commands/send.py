"""`p2p-copy send`, with a relay of its own if there is no other."""

from __future__ import annotations

import os
import secrets
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from p2p_copy.cli import limits, saved_transfers
from p2p_copy.cli.options import inputs
from p2p_copy.cli.options.arguments import SERVE_AUTO, STANDARD, host_port, send_words
from p2p_copy.cli.run import ignore_signals, run_transfer
from p2p_copy.cli.ui.progress import Progress
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import PartialTransfer, UsageError
from p2p_copy.files.selection import Selection
from p2p_copy.files.state.facts import SendCommand
from p2p_copy.files.user_paths import check_paths
from p2p_copy.options import RelayAccess, SendOptions
from p2p_copy.protocol import code as codes
from p2p_copy.transfer.send import send as send_files
from p2p_copy.transport import limits as transport_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from p2p_copy.cli.options.client import ClientArguments, SendArguments, TransferArguments
    from p2p_copy.files.state.store import State
    from p2p_copy.observer import Report
    from p2p_copy.options import Preserve
    from p2p_copy.protocol.code import Code


def send(
    words: Sequence[str], transfer: TransferArguments, client: ClientArguments, sending: SendArguments
) -> int:
    """Send and return exit code 0.

    Raises:
        PartialTransfer: not everything was delivered.
        P2PCopyError: nothing, or nothing more, was delivered.

    """
    terminal = Terminal.standard(quiet=client.quiet)
    word = send_words(words)
    if STANDARD in word.paths:
        transfer = inputs.of_a_pipe(transfer)
    if transfer.dry_run:
        from p2p_copy.cli.commands.dry_run import would_send

        return would_send(word.paths, sending.symlinks, Selection(transfer.only, transfer.exclude), terminal)
    serve = sending.serve
    if serve and word.relay:
        raise UsageError("With --serve this side is the relay itself. Leave out the relay's URL, or --serve.")
    binds = _binds(serve) if serve else []
    relay = "" if serve else inputs.relay_of(word.relay, transfer.server)
    text = inputs.written_code(word.code, transfer.code, transfer.code_file)
    chosen = None if text is None else codes.choose(text)
    if text is not None:
        inputs.warn_of_arguments(text, terminal, otherwise="leave it out, and send makes one")
    if pipe := STANDARD in word.paths:
        inputs.leave_standard_input_alone(transfer, client, terminal)
    else:
        check_paths(
            word.paths
        )  # `transfer.send` does so, too, but only once a code is shown and a state written
    token = None if serve else inputs.access_token(client.token_file)
    saved_transfers.check_patterns(transfer)
    command = SendCommand(
        relay=relay,
        paths=tuple(os.path.abspath(path) if path and not pipe else path for path in word.paths),
        options=SendOptions(
            symlinks=sending.symlinks,
            name=sending.name,
            preserve=tuple(sending.preserve),
            only=tuple(transfer.only),
            exclude=tuple(transfer.exclude),
            receipt=client.receipt and os.path.abspath(client.receipt),
            streams=client.streams or None,
        ),
    )
    code: Code | None = None
    if serve or pipe:  # the relay, or what was read, ends with this process, so nobody could go on later
        code = chosen or codes.generate(secrets.randbelow)
        return go_on(
            None, command, code, client, terminal, token=token, binds=binds, generated=chosen is None
        )
    saved_transfers.say_if_elsewhere(client.state_dir, terminal)
    states = saved_transfers.states_in(client.state_dir, terminal)
    if chosen is not None:
        state = saved_transfers.open_state(states, command, chosen.text, terminal)
        return go_on(state, command, chosen, client, terminal, token=token)
    state = saved_transfers.same_again(states, command)
    code = _code_of(state) if state is not None and saved_transfers.is_good(state.facts) else None
    if state is not None and code is not None:
        saved_transfers.say_that_code_is_old(state, terminal)
    elif state is None or not state.facts.tickets:
        code = codes.generate(secrets.randbelow)
        if state is None:
            state = saved_transfers.open_state(states, command, code.text, terminal, generated=True)
        else:
            saved_transfers.keep(state, replace(state.facts, code=code.text, spent=False), terminal)
    return go_on(state, command, code, client, terminal, token=token, generated=True)


def _code_of(state: State | None) -> Code | None:
    """Return the code that a state has; None if it has none, or one that somebody has changed."""
    if state is None or state.facts.code is None:
        return None
    try:
        return codes.parse(state.facts.code)
    except UsageError:
        return None


def go_on(
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
    """Send as `command` says, in whatever state that is, through a relay of our own at `binds` if there are any.

    It raises what `send` raises.
    """
    progress = Progress(terminal, verb="Sent")
    if state is not None:
        saved_transfers.say_where_it_stands(state, terminal)
    met = state is not None and state.facts.sure

    async def through(address: str, seen_as: str, on_room: Callable[[str], None] | None = None) -> Report:
        if not met and code is not None:
            lines = _announcement(code, seen_as, command.options.preserve, generated=generated)
            progress.announce(lines, vital=generated)
        return await send_files(
            command.paths,
            RelayAccess(address, client.ca_file, token),
            code,
            saved_transfers.options_now(command.options, client),
            state=state,
            observer=progress,
            on_room=on_room,
        )

    async def story() -> Report:
        if not binds:
            return await through(command.relay, command.relay)
        from p2p_copy.cli.embedded_relay import (  # all of the relay, which takes a while
            OwnRooms,
            embedded_relay,
        )

        assert code is not None, "what a relay of our own serves is not remembered"
        rooms = OwnRooms(code)
        async with embedded_relay(binds, rooms) as (own, seen_as):
            return await through(own, seen_as, rooms.add)

    report = run_transfer(story, progress, client.deadline, lasts=state is not None)
    ignore_signals()
    progress.done(report)
    if report.failures:
        raise PartialTransfer()
    return 0


def _binds(serve: str) -> list[tuple[str, int]]:
    """Return host and port to listen at, in the order of preference; an empty host is all of IPv4."""
    if serve == SERVE_AUTO:
        return [("", limits.SERVE_PORT), ("", 0)]
    bind = host_port(serve)
    if bind is None:
        raise UsageError(
            "--serve takes HOST:PORT, [IPV6]:PORT or :PORT, or nothing; a PORT is a number from 0 to "
            f"{transport_limits.MAX_PORT}."
        )
    return [bind]


def _announcement(code: Code, relay: str, preserve: Sequence[Preserve], *, generated: bool) -> list[str]:
    """Return what the receiver's side must know. A code that its users chose is not shown."""
    command = ["p2p-copy", "receive", "--server", relay]
    if preserve:
        command += ["--preserve", ",".join(one.value for one in preserve)]
    if not generated:
        return [f"On the other machine: {shlex.join(command)}"]
    command.insert(2, code.text)
    return [f"Code: {code.text}", f"On the other machine: {shlex.join(command)}"]
