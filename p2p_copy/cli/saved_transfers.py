"""Transfers that are remembered between two runs of a command: finding one's own, beginning one, naming them."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from p2p_copy.cli.ui.display import displayed
from p2p_copy.errors import UsageError
from p2p_copy.files.selection import Selection
from p2p_copy.files.state.facts import Facts, SendCommand
from p2p_copy.files.state.store import Access, StateBusy, States, access_of_others, default_directory
from p2p_copy.files.user_directories import belongs_to_other_user
from p2p_copy.options import STATE_VARIABLE, TransferOptions
from p2p_copy.protocol.escape import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.cli.options.client import ClientArguments, TransferArguments
    from p2p_copy.cli.ui.terminal import Terminal
    from p2p_copy.files.state.facts import Command
    from p2p_copy.files.state.store import State, Summary

T = TypeVar("T", bound=TransferOptions)


def states_in(directory: str | None, terminal: Terminal) -> States:
    """Return the states in the directory that the user has named, here or in the environment, or in the usual one.

    The user is told if others may list it.

    Raises:
        UsageError: others may write there, and so could name files to be sent and places to be written to.

    """
    states = States(directory or os.environ.get(STATE_VARIABLE) or default_directory())
    match access_of_others(states.directory):
        case Access.WRITE:
            raise UsageError(
                f"Other users may write into {escape(states.directory)}, where transfers are remembered, and could let "
                "this one do something else. Name one that only you may write into, as a new one is: --state-dir "
                "DIR. If this one is yours: chmod 700"
            )
        case Access.LIST:
            terminal.say(
                f"Other users may list {escape(states.directory)}, where transfers are remembered: they see how many "
                "there are and when they were at work, and not what or with which code. To stop that: chmod 700"
            )
    return states


def say_if_elsewhere(directory: str | None, terminal: Terminal) -> None:
    """Tell where states lie if the environment names another user's home, which is left alone."""
    if not (directory or os.environ.get(STATE_VARIABLE)) and belongs_to_other_user(os.path.expanduser("~")):
        terminal.say(
            "HOME is another user's directory, as with sudo -E, so what is remembered lies in "
            f"{escape(default_directory())}. --state-dir names another place."
        )


def open_state(
    states: States, command: Command, code: str, terminal: Terminal, *, generated: bool = False
) -> State | None:
    """Return what is remembered of this very transfer, or begin to remember it; None if nothing can be written.

    Raises:
        UsageError: another process is at it.

    """
    try:
        id_ = states.id_of(_identity(command, code))
        state = states.open(id_)
        if state is None:
            others = [
                each
                for each in states.all()
                if each.facts.command and each.id == states.id_of(_identity(each.facts.command, code))
            ]
            _say_what_else_there_is(others, command, terminal)
            facts = Facts(
                command=command,
                began=time.time(),
                code=code if generated else None,
                spent=any(each.facts.spent for each in others),
            )
            state = states.create(id_, facts)
    except StateBusy:
        raise UsageError(
            "Another p2p-copy on this machine is at this very transfer. Wait for it, or stop it first."
        ) from None
    except (OSError, ValueError) as error:
        _cannot_remember(error, terminal)
        return None
    return state


def _identity(command: Command, code: str) -> bytes:
    """Return what tells the transfer of this command with this code from all others."""
    return "\0".join((command.role, code, *command.places)).encode(errors="surrogateescape")


def _say_what_else_there_is(others: Sequence[Summary], command: Command, terminal: Terminal) -> None:
    """Tell of transfers that were begun with the same code and are not done: this one does not go on with them."""
    for other in others:
        theirs = other.facts
        if theirs.command and theirs.command.role == command.role and theirs.tickets:
            name = short(other.id)
            terminal.say(
                f"Another transfer was begun with this code, and is not done: {described(other)}. This one "
                f"starts from the beginning. To go on with that one instead: p2p-copy resume {name}; to drop it: "
                f"p2p-copy forget {name}"
            )


def keep(state: State, facts: Facts, terminal: Terminal) -> None:
    """Write down these facts; if that is not possible, say so, and go on."""
    state.facts = facts
    try:
        state.save()
    except (OSError, ValueError) as error:
        _cannot_remember(error, terminal)


def _cannot_remember(error: OSError | ValueError, terminal: Terminal) -> None:
    sentence = "What is done cannot be remembered beyond this run: "
    if isinstance(error, OSError):
        where = f"{escape(str(error.filename))}: " if error.filename else ""
        sentence += f"{where}{error.strerror}. --state-dir names another place."
    else:  # a state has a limit
        sentence += "too many paths are named. Name a directory above them instead, with --only or --exclude."
    terminal.say(sentence)


def check_patterns(transfer: TransferArguments) -> None:
    """Find out, before anything is begun, whether the patterns have the right form.

    Raises:
        UsageError: one has not.

    """
    Selection(transfer.only, transfer.exclude)


def options_now(begun: T, client: ClientArguments) -> T:
    """Return the options of a transfer: those that it was begun with, and what is asked for now."""
    return replace(
        begun,
        receipt=begun.receipt if client.receipt is None else os.path.abspath(client.receipt),
        streams=begun.streams if client.streams is None else client.streams or None,
        wait=client.wait,
        patience=client.patience,
    )


def is_good(facts: Facts) -> bool:
    """Return whether the generated code of a transfer is still of use: it is not used up, or only told that it is."""
    return facts.code is not None and (not facts.spent or bool(facts.tickets))


def is_over(facts: Facts) -> bool:
    """Return whether nothing is left to go on with: it is only remembered that the code is used up."""
    return facts.spent and not facts.tickets


def say_where_it_stands(state: State, terminal: Terminal) -> None:
    """Tell that a transfer goes on, if both sides have met before."""
    if state.facts.sure:
        terminal.say(
            f"Going on with the transfer of {_when(state.facts)}. "
            f"To begin anew instead: p2p-copy forget {short(state.id)}"
        )


def say_that_code_is_old(state: State, terminal: Terminal) -> None:
    """Tell that a code was made by an earlier run of the same command, unless both sides have met since."""
    if not state.facts.sure:
        terminal.say(
            f"The code is still that of {_when(state.facts)}, when this command was started before. "
            f"For a new one: p2p-copy forget {short(state.id)}, and start it again."
        )


def same_again(states: States, command: SendCommand) -> State | None:
    """Return what is remembered of the transfer that the very same command without a code has begun, if it has.

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
    return replace(command, options=replace(command.options, receipt=None, streams=None))


def short(id_: str) -> str:
    """Return what a person types for a state's id."""
    return id_[:8]


def find(states: States, given: str) -> str:
    """Return the id that begins with what a person has typed.

    Raises:
        UsageError: none does, or several do.

    """
    ids = [each.id for each in states.all()] + states.unreadable
    found = [id_ for id_ in ids if id_.startswith(given.lower())]
    if len(found) != 1:
        raise UsageError(
            "Several transfers begin like that. Name more of it."
            if found
            else "There is no such transfer. p2p-copy resume lists those that there are."
        )
    return found[0]


def described(summary: Summary) -> str:
    """Return one line about a transfer; it names neither code nor ticket."""
    line = f"{short(summary.id)}  {_when(summary.facts)}"
    if command := summary.facts.command:
        direction = "send" if command.role == "sender" else "receive into"
        where = ", ".join(map(displayed, command.places))
        line += f"  {direction} {where}  {escape(command.relay)}"
    return f"{line}, under way now" if summary.busy else line


def _when(facts: Facts) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(facts.began))
