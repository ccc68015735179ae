"""`p2p-copy receive`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from p2p_copy.cli import saved_transfers
from p2p_copy.cli.options import inputs
from p2p_copy.cli.options.arguments import STANDARD, receive_words
from p2p_copy.cli.run import ignore_signals, run_transfer
from p2p_copy.cli.ui.progress import Progress
from p2p_copy.cli.ui.prompt import Question
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import Declined, PartialTransfer
from p2p_copy.options import Conflict, Names, Preserve
from p2p_copy.protocol import code as codes
from p2p_copy.transfer.receive import receive as receive_files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from p2p_copy.cli.options.client import ClientOptions, ReceiveOptions, TransferOptions
    from p2p_copy.files.state.store import State
    from p2p_copy.observer import Ask, Report
    from p2p_copy.protocol.code import Code


def receive(words: Sequence[str], which: TransferOptions, options: ClientOptions, its: ReceiveOptions) -> int:
    """Receive and return exit code 0.

    Raises:
        PartialTransfer: not everything arrived.
        P2PCopyError: nothing, or nothing more, arrived.

    """
    terminal = Terminal.standard(quiet=options.quiet)
    word = receive_words(words)
    relay = inputs.relay_of(word.relay, which.server)
    text = inputs.written_code(word.code, which.code, which.code_file)
    code = inputs.ask_for_code(terminal) if text is None else codes.parse(text)
    # A generated one stands in the command that `send` prints. Others can use it only while a side is away.
    if text is not None and not code.is_generated:
        inputs.warn_of_arguments(text, terminal, otherwise="leave it out, and receive asks for it")
    token = inputs.access_token(options.token_file)
    facts = {
        saved_transfers.ROLE: "receiver",
        saved_transfers.RELAY: relay,
        saved_transfers.OUT: its.out if its.out == STANDARD else os.path.abspath(its.out),
        saved_transfers.OPTIONS: {
            "conflict": its.on_conflict.value,
            "names": its.names.value,
            "preserve": [one.value for one in its.preserve],
            "max_size": its.max_size,
            "max_files": its.max_files,
            **saved_transfers.patterns(which),
        },
        saved_transfers.RECEIPT: saved_transfers.receipt_path(options.receipt, {}),
        saved_transfers.STREAMS: options.streams,
    }
    if its.out == STANDARD:
        which = inputs.of_a_pipe(which)
    if which.dry_run:
        from p2p_copy.cli.commands.dry_run import WouldReceive

        would = WouldReceive(terminal, its.on_conflict, its.max_size, its.max_files)
        try:
            go_on(None, facts, code, options, terminal, token=token, asks=lambda progress: would)
        except* Declined:
            pass  # as we do
        would.check_room()
        return 0
    if its.out == STANDARD:  # what was written there is gone with this process
        return go_on(None, facts, code, options, terminal, token=token)
    saved_transfers.say_if_elsewhere(options.state_dir, terminal)
    states = saved_transfers.states_in(options.state_dir, terminal)
    state = saved_transfers.open_state(states, facts, code.text, terminal)

    def asks(progress: Progress) -> Ask | None:
        if its.yes or not inputs.somebody_is_there(terminal):
            return None
        return Question(terminal, progress, its.on_conflict)

    return go_on(state, facts, code, options, terminal, token=token, reverify=its.reverify, asks=asks)


def go_on(
    state: State | None,
    facts: dict[str, Any],
    code: Code | None,
    options: ClientOptions,
    terminal: Terminal,
    *,
    token: str | None,
    reverify: bool = False,
    asks: Callable[[Progress], Ask | None] = lambda progress: None,
) -> int:
    """Receive as `facts` say, in whatever state that is; what `asks` returns asks first, if it has not begun yet.

    It raises what `receive` raises.
    """
    progress = Progress(terminal, verb="Received")
    chosen = facts[saved_transfers.OPTIONS]
    if state is not None:
        saved_transfers.say_where_it_stands(state, terminal)

    async def story() -> Report:
        return await receive_files(
            facts[saved_transfers.OUT],
            relay=facts[saved_transfers.RELAY],
            code=code,
            conflict=Conflict(chosen["conflict"]),
            names=Names(chosen["names"]),
            preserve=[Preserve(one) for one in chosen["preserve"]],
            max_size=chosen["max_size"],
            max_files=chosen["max_files"],
            only=chosen["only"],
            exclude=chosen["exclude"],
            wait=options.wait,
            patience=options.patience,
            state=state,
            receipt=saved_transfers.receipt_path(options.receipt, facts),
            reverify=reverify,
            ca_file=options.ca_file,
            token=token,
            ask=asks(progress),
            streams=saved_transfers.streams(options.streams, facts),
            observer=progress,
        )

    report = run_transfer(story, progress, options.deadline, lasts=state is not None)
    ignore_signals()
    progress.done(report)
    if report.failures:
        raise PartialTransfer()
    return 0
