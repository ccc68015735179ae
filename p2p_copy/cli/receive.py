"""`p2p-copy receive`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from p2p_copy.cli import remembered, sources
from p2p_copy.cli.progress import Progress
from p2p_copy.cli.question import Question
from p2p_copy.cli.run import run_transfer
from p2p_copy.cli.terminal import Terminal
from p2p_copy.cli.words import receive_words
from p2p_copy.errors import PartialTransfer
from p2p_copy.options import Conflict, Names
from p2p_copy.protocol import code as codes
from p2p_copy.receiver import receive as receive_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.cli.client_options import ClientOptions, ReceiveOptions
    from p2p_copy.files.states import State
    from p2p_copy.observe import Report
    from p2p_copy.protocol.code import Code


def receive(words: Sequence[str], options: ClientOptions, its: ReceiveOptions) -> int:
    """Receive and return exit code 0.

    Raises:
        PartialTransfer: not everything arrived.
        P2PCopyError: nothing, or nothing more, arrived.

    """
    terminal = Terminal.standard(quiet=options.quiet)
    word = receive_words(words)
    relay = sources.relay_of(word.relay, options.server)
    text = sources.written_code(word.code, options.code, options.code_file)
    code = sources.ask_for_code(terminal) if text is None else codes.parse(text)
    if text is not None:
        sources.warn_of_arguments(text, terminal)
    facts = {
        remembered.ROLE: "receiver",
        remembered.RELAY: relay,
        remembered.OUT: os.path.abspath(its.out),
        remembered.OPTIONS: {
            "conflict": its.on_conflict.value,
            "names": its.names.value,
            "max_size": its.max_size,
            **remembered.patterns(options),
        },
        remembered.RECEIPT: remembered.receipt_path(options.receipt, {}),
    }
    states = remembered.states_in(options.state_dir)
    state = remembered.open_state(states, facts, code.text, terminal)
    ask = not its.yes and sources.somebody_is_there(terminal)
    return go_on(state, facts, code, options, terminal, reverify=its.reverify, ask=ask)


def go_on(
    state: State | None,
    facts: dict[str, Any],
    code: Code,
    options: ClientOptions,
    terminal: Terminal,
    *,
    reverify: bool = False,
    ask: bool = False,
) -> int:
    """Receive as `facts` say, in whatever state that is; `ask` first, if it has not begun yet.

    It raises what `receive` raises.
    """
    progress = Progress(terminal, verb="Received")
    chosen = facts[remembered.OPTIONS]
    conflict = Conflict(chosen["conflict"])
    if state is not None:
        remembered.say_where_it_stands(state, terminal)

    async def story() -> Report:
        return await receive_files(
            facts[remembered.OUT],
            relay=facts[remembered.RELAY],
            code=code,
            conflict=conflict,
            names=Names(chosen["names"]),
            max_size=chosen["max_size"],
            only=chosen["only"],
            exclude=chosen["exclude"],
            wait=options.wait,
            patience=options.patience,
            state=state,
            receipt=remembered.receipt_path(options.receipt, facts),
            reverify=reverify,
            ca_file=options.ca_file,
            token=sources.access_token(options.token_file),
            ask=Question(terminal, progress, conflict) if ask else None,
            observer=progress,
        )

    report = run_transfer(story, progress, options.deadline)
    progress.done(report)
    if report.failures:
        raise PartialTransfer()
    return 0
