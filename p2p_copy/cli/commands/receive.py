"""`p2p-copy receive`: receives files or a stream from the sender with the same code."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from p2p_copy import Code
from p2p_copy.api.client import AsyncClient
from p2p_copy.cli import saved_transfers
from p2p_copy.cli.options import inputs
from p2p_copy.cli.options.arguments import STANDARD, receive_words
from p2p_copy.cli.run import run_transfer
from p2p_copy.cli.ui.displays import open_display, open_terminal
from p2p_copy.cli.ui.progress import Progress
from p2p_copy.cli.ui.prompt import Question
from p2p_copy.errors import Declined, UsageError
from p2p_copy.files.state.transfers import receive_command
from p2p_copy.options import Conflict, ReceiveOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from p2p_copy.cli.options.client import ClientArguments, ReceiveArguments, TransferArguments
    from p2p_copy.cli.ui.displays import Display
    from p2p_copy.cli.ui.terminal import Terminal
    from p2p_copy.files.state.facts import ReceiveCommand
    from p2p_copy.files.state.store import State
    from p2p_copy.observer import Ask


def receive(
    words: Sequence[str], transfer: TransferArguments, client: ClientArguments, receiving: ReceiveArguments
) -> int:
    """Receive and return exit code 0.

    Raises:
        PartialTransfer: not everything arrived.
        P2PCopyError: nothing, or nothing more, arrived.

    """
    terminal = open_terminal(client)
    named = receive_words(words)
    relay = inputs.relay_of(named.relay, transfer.server)
    text = inputs.written_code(named.code, transfer.code, transfer.code_file)
    code = inputs.ask_for_code(terminal) if text is None else Code.parse(text)
    # Not for a generated code, which is of use to others for one transfer only; an own code may be used again.
    if text is not None and not code.is_generated:
        inputs.warn_of_arguments(text, terminal, otherwise="leave it out, and receive asks for it")
    token = inputs.access_token(client.token_file)
    saved_transfers.check_patterns(transfer)
    if receiving.out == STANDARD and client.json:
        raise UsageError("With --out - standard output is what is received, so --json cannot write there.")
    if receiving.checksum and receiving.on_conflict is not Conflict.UPDATE:
        raise UsageError("--checksum says what --on-conflict update compares; it has no effect without that.")
    options = ReceiveOptions(
        conflict=receiving.on_conflict,
        checksum=receiving.checksum,
        names=receiving.names,
        preserve=tuple(receiving.preserve),
        max_size=receiving.max_size,
        max_files=receiving.max_files,
        only=tuple(transfer.only),
        exclude=tuple(transfer.exclude),
        receipt=client.receipt,
        links=client.links or None,
    )
    command = receive_command(relay, receiving.out, options)
    if receiving.out == STANDARD:
        transfer = inputs.for_pipe(transfer)
    if transfer.dry_run:
        from p2p_copy.cli.commands.dry_run import ShowAndDecline

        declining = ShowAndDecline(
            terminal, receiving.on_conflict, receiving.max_size, receiving.max_files, json=client.json
        )
        try:
            run_receive(
                None, command, code, client, terminal, token=token, question=lambda display: declining
            )
        except* Declined:
            pass  # a dry run always declines
        declining.check_space()
        return 0
    if receiving.out == STANDARD:  # what was written to it is lost with this process, so it cannot be resumed
        return run_receive(None, command, code, client, terminal, token=token)
    saved_transfers.say_if_elsewhere(client.state_dir, terminal)
    states = saved_transfers.states_in(client.state_dir, terminal)
    state = saved_transfers.open_state(states, command, code.text, terminal)

    def question(display: Display) -> Ask | None:
        if receiving.yes or not isinstance(display, Progress) or not inputs.can_ask(terminal):
            return None
        return Question(terminal, display, receiving.on_conflict)

    return run_receive(
        state, command, code, client, terminal, token=token, reverify=receiving.reverify, question=question
    )


def run_receive(
    state: State | None,
    command: ReceiveCommand,
    code: Code | None,
    client: ClientArguments,
    terminal: Terminal,
    *,
    token: str | None,
    reverify: bool = False,
    question: Callable[[Display], Ask | None] = lambda display: None,
) -> int:
    """Receive what `command` describes, with the saved `state` if there is one, and return exit code 0.

    `question` makes the function that asks the user; it is not used if the transfer was begun before. Raises what
    `receive` raises.
    """
    display = open_display(terminal, client, state, sends=False)
    display.start(None)
    options = replace(saved_transfers.options_now(command.options, client), reverify=reverify)
    if state is not None:
        saved_transfers.say_that_it_resumes(state, terminal)
    through = AsyncClient(command.relay, token=token, ca_file=client.ca_file)
    opened = through._open_saved_receive(command.out, code, options, state, question(display))
    return run_transfer(
        opened, display, client.deadline, resume_id=None if state is None else saved_transfers.short(state.id)
    )
