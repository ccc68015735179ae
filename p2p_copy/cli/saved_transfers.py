"""Transfers that are remembered between two runs of a command: finding one's own, beginning one, naming them."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from p2p_copy.cli.ui.display import displayed
from p2p_copy.errors import UsageError
from p2p_copy.files.home import is_foreign
from p2p_copy.files.selection import Selection
from p2p_copy.files.state.store import Access, StateBusy, States, access_of_others, default_directory
from p2p_copy.options import STATE_VARIABLE, ReceiveOptions, SendOptions
from p2p_copy.protocol.escape import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.cli.options.client import ClientArguments, TransferArguments
    from p2p_copy.cli.ui.terminal import Terminal
    from p2p_copy.files.state.store import State

ROLE, RELAY, CODE, PATHS, OUT, BEGAN, OPTIONS, RECEIPT, STREAMS, TICKET, SURE, SPENT = (
    "role", "relay", "code", "paths", "out", "began", "options", "receipt", "streams", "ticket", "sure", "spent",
)  # fmt: skip
"""Facts of a state. The code stands there only if it was generated."""


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
    if not (directory or os.environ.get(STATE_VARIABLE)) and is_foreign(os.path.expanduser("~")):
        terminal.say(
            "HOME is another user's directory, as with sudo -E, so what is remembered lies in "
            f"{escape(default_directory())}. --state-dir names another place."
        )


def open_state(states: States, facts: dict[str, Any], code: str, terminal: Terminal) -> State | None:
    """Return what is remembered of this very transfer, or begin to remember it; None if nothing can be written.

    Raises:
        UsageError: another process is at it.

    """
    try:
        id_ = states.id_of(_identity(facts, code))
        state = states.open(id_)
        if state is None:
            others = [each for each in states.all() if each[0] == states.id_of(_identity(each[1], code))]
            spent = {SPENT: True} if any(SPENT in theirs for _, theirs, _ in others) else {}
            _say_what_else_there_is(others, facts[ROLE], terminal)
            state = states.create(id_, {**facts, **spent, BEGAN: time.time()})
    except StateBusy:
        raise UsageError(
            "Another p2p-copy on this machine is at this very transfer. Wait for it, or stop it first."
        ) from None
    except (OSError, ValueError) as error:
        _cannot_remember(error, terminal)
        return None
    return state


def _identity(facts: dict[str, Any], code: str) -> bytes:
    """Return what tells the transfer with these facts and this code from all others."""
    parts = (facts.get(ROLE, ""), code, *facts.get(PATHS, ()), facts.get(OUT, ""))
    return "\0".join(parts).encode(errors="surrogateescape")


def _say_what_else_there_is(
    others: Sequence[tuple[str, dict[str, Any], bool]], role: str, terminal: Terminal
) -> None:
    """Tell of transfers that were begun with the same code and are not done: this one does not go on with them."""
    for id_, theirs, busy in others:
        if theirs.get(ROLE) == role and TICKET in theirs:
            terminal.say(
                f"Another transfer was begun with this code, and is not done: {described(id_, theirs, busy)}. This one "
                f"starts from the beginning. To go on with that one instead: p2p-copy resume {short(id_)}; to drop it: "
                f"p2p-copy forget {short(id_)}"
            )


def keep(state: State, facts: dict[str, Any], terminal: Terminal) -> None:
    """Write down these facts as well; if that is not possible, say so, and go on."""
    state.facts.update(facts)
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


def patterns(which: TransferArguments) -> dict[str, list[str]]:
    """Return what of the transfer is wanted, as part of a state's options.

    Raises:
        UsageError: a pattern has the wrong form.

    """
    Selection(which.only, which.exclude)  # a mistake is told before anything is begun
    return {"only": list(which.only), "exclude": list(which.exclude)}


def send_options(facts: dict[str, Any], client: ClientArguments) -> SendOptions:
    """Return how to send: what was fixed when the transfer was begun, and what is asked for now."""
    chosen = facts[OPTIONS]
    return SendOptions(symlinks=chosen["links"], name=chosen["name"], **_common_options(facts, client))


def receive_options(facts: dict[str, Any], client: ClientArguments, *, reverify: bool) -> ReceiveOptions:
    """Return how to receive: what was fixed when the transfer was begun, and what is asked for now."""
    chosen = facts[OPTIONS]
    return ReceiveOptions(
        conflict=chosen["conflict"],
        names=chosen["names"],
        max_size=chosen["max_size"],
        max_files=chosen["max_files"],
        reverify=reverify,
        **_common_options(facts, client),
    )


def _common_options(facts: dict[str, Any], client: ClientArguments) -> dict[str, Any]:
    chosen = facts[OPTIONS]
    return {
        "preserve": chosen["preserve"],
        "only": chosen["only"],
        "exclude": chosen["exclude"],
        "receipt": receipt_path(client.receipt, facts),
        "wait": client.wait,
        "patience": client.patience,
        "streams": _streams(client.streams, facts),
    }


def receipt_path(given: str | None, facts: dict[str, Any]) -> str | None:
    """Return where a receipt is to be written: as given now, else as when the transfer was begun."""
    path: str | None = facts.get(RECEIPT) if given is None else os.path.abspath(given)
    return path


def _streams(given: int | None, facts: dict[str, Any]) -> int | None:
    """Return how many links there are to be: as said now, else as when the transfer was begun; None for auto."""
    number: int | None = facts.get(STREAMS) if given is None else given
    return number or None


def is_good(facts: dict[str, Any]) -> bool:
    """Return whether the generated code of a transfer is still of use: it is not used up, or only told that it is."""
    return CODE in facts and (SPENT not in facts or TICKET in facts)


def is_over(facts: dict[str, Any]) -> bool:
    """Return whether nothing is left to go on with: it is only remembered that the code is used up."""
    return SPENT in facts and TICKET not in facts


def say_where_it_stands(state: State, terminal: Terminal) -> None:
    """Tell that a transfer goes on, if both sides have met before."""
    if SURE in state.facts:
        terminal.say(
            f"Going on with the transfer of {_when(state.facts)}. "
            f"To begin anew instead: p2p-copy forget {short(state.id)}"
        )


def say_that_code_is_old(state: State, terminal: Terminal) -> None:
    """Tell that a code was made by an earlier run of the same command, unless both sides have met since."""
    if SURE not in state.facts:
        terminal.say(
            f"The code is still that of {_when(state.facts)}, when this command was started before. "
            f"For a new one: p2p-copy forget {short(state.id)}, and start it again."
        )


def same_again(states: States, facts: dict[str, Any]) -> State | None:
    """Return what is remembered of the transfer that the very same command without a code has begun, if it has."""
    for id_, theirs, busy in states.all():
        if not busy and all(theirs.get(name) == facts[name] for name in (ROLE, RELAY, PATHS, OPTIONS)):
            with suppress(StateBusy, OSError):
                return states.open(id_)
    return None


def short(id_: str) -> str:
    """Return what a person types for a state's id."""
    return id_[:8]


def find(states: States, given: str) -> str:
    """Return the id that begins with what a person has typed.

    Raises:
        UsageError: none does, or several do.

    """
    ids = [id_ for id_, _, _ in states.all()] + states.unreadable
    found = [id_ for id_ in ids if id_.startswith(given.lower())]
    if len(found) != 1:
        raise UsageError(
            "Several transfers begin like that. Name more of it."
            if found
            else "There is no such transfer. p2p-copy resume lists those that there are."
        )
    return found[0]


def described(id_: str, facts: dict[str, Any], busy: bool) -> str:
    """Return one line about a transfer; it names neither code nor ticket."""
    what: Sequence[str] = facts.get(PATHS) or [facts.get(OUT, "")]
    direction = "send" if facts.get(ROLE) == "sender" else "receive into"
    under_way = ", under way now" if busy else ""
    where, relay = ", ".join(map(displayed, what)), escape(facts.get(RELAY, ""))
    return f"{short(id_)}  {_when(facts)}  {direction} {where}  {relay}{under_way}"


def _when(facts: dict[str, Any]) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(facts.get(BEGAN, 0)))
