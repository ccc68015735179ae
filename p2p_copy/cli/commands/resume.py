"""`p2p-copy resume` and `p2p-copy forget`: transfers that were begun on this machine and are not finished."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from p2p_copy import Code
from p2p_copy.cli import saved_transfers
from p2p_copy.cli.options import inputs
from p2p_copy.cli.ui.displays import open_terminal
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import P2PCopyError, UsageError
from p2p_copy.files.state.store import StateBusy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.cli.options.client import ClientArguments
    from p2p_copy.files.state.store import State, States, Summary


def resume(given: str | None, client: ClientArguments) -> int:
    """List the unfinished transfers, or resume one of them; return exit code 0.

    Raises:
        UsageError: there is no such transfer, or its two sides have never connected.
        P2PCopyError: what `send` and `receive` raise.

    """
    terminal = open_terminal(client)
    saved_transfers.say_if_elsewhere(client.state_dir, terminal)
    states = saved_transfers.states_in(client.state_dir, terminal)
    if given is None:
        unfinished = [each for each in states.all() if not saved_transfers.is_over(each.facts)]
        if client.json:
            return _list_as_json(unfinished, terminal)
        lines = [saved_transfers.described(each) for each in unfinished]
        for line in lines or ["No unfinished transfers."]:
            terminal.result(line)
        for id_ in states.unreadable:
            terminal.say(
                f"{saved_transfers.short(id_)}  cannot be read and is ignored. To remove it: p2p-copy forget "
                f"{saved_transfers.short(id_)}"
            )
        return 0
    token = inputs.access_token(client.token_file)
    state = _open(states, given)
    facts = state.facts
    command = facts.command
    try:
        if command is None:
            raise UsageError(
                "That transfer was begun by a program and not by a command. Start that program again."
            )
        if not facts.tickets and facts.code is None:
            raise UsageError(
                "The two sides of that transfer have not connected yet, and its code is not saved here. Run its "
                "command again."
            )
        inputs.refuse_needless_ca_file(command.relay)
    except UsageError:
        state.close()
        raise
    code = Code.parse(facts.code) if facts.code else None
    if command.role == "sender":
        from p2p_copy.cli.commands.send import run_send

        return run_send(state, command, code, client, terminal, token=token, generated=True)
    from p2p_copy.cli.commands.receive import run_receive

    return run_receive(state, command, code, client, terminal, token=token)


def _list_as_json(unfinished: Sequence[Summary], terminal: Terminal) -> int:
    from p2p_copy.cli.ui.json_lines import JsonLines, Started, Unfinished
    from p2p_copy.version import FULL_NAME

    lines = JsonLines(terminal)
    lines.write(Started(program=FULL_NAME, command="resume"))
    for each in unfinished:
        command = each.facts.command
        lines.write(
            Unfinished(
                each.id,
                each.facts.began,
                None if command is None else "send" if command.role == "sender" else "receive",
                () if command is None else command.places,
                None if command is None else command.relay,
                each.busy,
            )
        )
    return 0


def forget(ids: Sequence[str], directory: str | None) -> int:
    """Forget transfers, and remove their partial files; return exit code 0.

    Raises:
        UsageError: there is no such transfer, or it is running.

    """
    terminal = Terminal.standard()
    states = saved_transfers.states_in(directory, terminal)
    if not ids:
        raise UsageError("Which transfer? p2p-copy resume lists the unfinished ones.")
    for given in ids:
        state = _open(states, given)
        _remove_parts(state, terminal)
        state.remove()
    return 0


def _open(states: States, given: str) -> State:
    id_ = saved_transfers.find(states, given)
    try:
        state = states.open(id_)
    except StateBusy:
        raise UsageError("That transfer is running in another process. Stop it first.") from None
    if state is None:
        raise UsageError("What was saved of that transfer cannot be read any more, and was removed.")
    return state


def _remove_parts(state: State, terminal: Terminal) -> None:
    from p2p_copy.files.target.cleanup import remove_beside
    from p2p_copy.transfer.resumption import Resumption

    memory = Resumption(state, 0)
    command = state.facts.command
    if command is None:
        return
    if command.options.receipt is not None:
        remove_beside(os.fspath(command.options.receipt), memory.receipt_tag)
    if command.role == "sender":
        return
    from p2p_copy.files.target.resume import ResumeIndex
    from p2p_copy.files.target.target import Target
    from p2p_copy.options import Conflict

    try:
        index = ResumeIndex(state.journal, tag=memory.tag)
        target = Target(command.out, conflict=Conflict.REFUSE, resume=index)
        target.remove_traces()
        target.close()
    except P2PCopyError as error:
        terminal.error(f"Its partial files could not be removed: {error}")
