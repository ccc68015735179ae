"""Finds, creates and describes transfers that are saved between two runs of a command."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from p2p_copy.cli.ui.display import displayed
from p2p_copy.errors import UsageError
from p2p_copy.files.selection import Selection
from p2p_copy.files.state.facts import SendCommand
from p2p_copy.files.state.store import Access, StateBusy, States, access_of_others, default_directory
from p2p_copy.files.state.transfers import check_private, open_transfer
from p2p_copy.files.user_directories import belongs_to_other_user
from p2p_copy.options import STATE_VARIABLE, TransferOptions
from p2p_copy.protocol.escape import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.cli.options.client import ClientArguments, TransferArguments
    from p2p_copy.cli.ui.terminal import Terminal
    from p2p_copy.files.state.facts import Command, Facts
    from p2p_copy.files.state.store import State, Summary

T = TypeVar("T", bound=TransferOptions)


def states_in(directory: str | None, terminal: Terminal) -> States:
    """Return the states in the directory that the option or the environment names, or in the default one.

    The user is told if other users may list it.

    Raises:
        UsageError: other users may write there, and so could choose files to send and directories to write to.

    """
    states = States(directory or os.environ.get(STATE_VARIABLE) or default_directory())
    check_private(states.directory, otherwise=": --state-dir DIR")
    if access_of_others(states.directory) is Access.LIST:
        terminal.say(
            f"Other users may list {escape(states.directory)}, where transfers are saved: they see how many there are "
            "and when they ran, but neither files nor codes. To stop that: chmod 700"
        )
    return states


def say_if_elsewhere(directory: str | None, terminal: Terminal) -> None:
    """Say where transfers are saved if HOME is another user's directory, into which nothing is written."""
    if not (directory or os.environ.get(STATE_VARIABLE)) and belongs_to_other_user(os.path.expanduser("~")):
        terminal.say(
            "HOME is another user's directory, as with sudo -E, so transfers are saved in "
            f"{escape(default_directory())}. --state-dir names another place."
        )


def open_state(
    states: States, command: Command, code: str, terminal: Terminal, *, generated: bool = False
) -> State | None:
    """Return the saved state of this transfer, or create it; None if it cannot be saved.

    Raises:
        UsageError: another process is running this transfer.

    """
    try:
        state, others = open_transfer(states, command, code, save_code=generated)
    except (OSError, ValueError) as error:
        _say_that_it_is_not_saved(error, terminal)
        return None
    _say_what_others_there_are(others, command, terminal)
    return state


def _say_what_others_there_are(others: Sequence[Summary], command: Command, terminal: Terminal) -> None:
    """Name unfinished transfers with the same code, which the new one does not resume."""
    for other in others:
        theirs = other.facts
        if theirs.command and theirs.command.role == command.role and theirs.tickets:
            name = short(other.id)
            terminal.say(
                f"Another transfer was begun with this code and is not finished: {described(other)}. This one starts "
                f"from the beginning. To resume that one instead: p2p-copy resume {name}; to drop it: "
                f"p2p-copy forget {name}"
            )


def keep(state: State, facts: Facts, terminal: Terminal) -> None:
    """Save these facts; if that fails, tell the user and continue."""
    state.facts = facts
    try:
        state.save()
    except (OSError, ValueError) as error:
        _say_that_it_is_not_saved(error, terminal)


def _say_that_it_is_not_saved(error: OSError | ValueError, terminal: Terminal) -> None:
    sentence = "Progress cannot be saved beyond this run: "
    if isinstance(error, OSError):
        where = f"{escape(str(error.filename))}: " if error.filename else ""
        sentence += f"{where}{error.strerror}. --state-dir names another place."
    else:  # the state is larger than a state may be
        sentence += "too many paths are named. Name a directory above them instead, with --only or --exclude."
    terminal.say(sentence)


def check_patterns(transfer: TransferArguments) -> None:
    """Check the patterns before anything is saved.

    Raises:
        UsageError: a pattern has the wrong form.

    """
    Selection(transfer.only, transfer.exclude)


def options_now(begun: T, client: ClientArguments) -> T:
    """Return the options of a transfer: those that it was begun with, and what is asked for now."""
    return replace(
        begun,
        receipt=begun.receipt if client.receipt is None else os.path.abspath(client.receipt),
        links=begun.links if client.links is None else client.links or None,
        wait=client.wait,
        patience=client.patience,
    )


def is_good(facts: Facts) -> bool:
    """Return whether a generated code is saved that is not used up, or that is used up but has a ticket beside it."""
    return facts.code is not None and (not facts.spent or bool(facts.tickets))


def is_over(facts: Facts) -> bool:
    """Return whether nothing can be resumed: all that is saved is that the code is used up."""
    return facts.spent and not facts.tickets


def say_that_it_resumes(state: State, terminal: Terminal) -> None:
    """Tell the user that a transfer is resumed, if both sides have met before."""
    if state.facts.sure:
        terminal.say(
            f"Resuming the transfer of {_when(state.facts)}. "
            f"To start over instead: p2p-copy forget {short(state.id)}"
        )


def say_that_code_is_old(state: State, terminal: Terminal) -> None:
    """Tell the user that an earlier run of the same command made the code, unless both sides have met since."""
    if not state.facts.sure:
        terminal.say(
            f"Using the code of {_when(state.facts)}, when this command was started before. "
            f"For a new code: p2p-copy forget {short(state.id)}, and start the command again."
        )


def same_again(states: States, command: SendCommand) -> State | None:
    """Return the state of the transfer that the same command, without a code, began before; None if there is none.

    Another receipt, or another number of links, does not make it another transfer.
    """
    for each in states.all():
        if not each.busy and _without_extras(each.facts.command) == _without_extras(command):
            with suppress(StateBusy, OSError):
                return states.open(each.id)
    return None


def _without_extras(command: Command | None) -> Command | None:
    if not isinstance(command, SendCommand):
        return None
    return replace(command, options=replace(command.options, receipt=None, links=None))


def short(id_: str) -> str:
    """Return the first letters of a state's id, which a user can type."""
    return id_[:8]


def find(states: States, given: str) -> str:
    """Return the id that starts with what the user has typed.

    Raises:
        UsageError: none does, or several do.

    """
    ids = [each.id for each in states.all()] + states.unreadable
    found = [id_ for id_ in ids if id_.startswith(given.lower())]
    if len(found) != 1:
        raise UsageError(
            "Several transfers start with that ID. Type more of it."
            if found
            else "There is no such transfer. p2p-copy resume lists the unfinished ones."
        )
    return found[0]


def described(summary: Summary) -> str:
    """Return one line that describes a transfer, without its code or ticket."""
    line = f"{short(summary.id)}  {_when(summary.facts)}"
    if command := summary.facts.command:
        direction = "send" if command.role == "sender" else "receive into"
        where = ", ".join(map(displayed, command.places))
        line += f"  {direction} {where}  {escape(command.relay)}"
    return f"{line}, running now" if summary.busy else line


def _when(facts: Facts) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(facts.began))
