"""Finds the saved state of a transfer by what identifies it: the role of this side, the code, and paths.

So the same command, or the same call of a program, resumes the transfer that it began before.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from p2p_copy.errors import UsageError
from p2p_copy.files.state.facts import REMEMBERED, Facts, KnownRelay, ReceiveCommand, SendCommand
from p2p_copy.files.state.store import Access, StateBusy, access_of_others
from p2p_copy.files.stdio import STANDARD
from p2p_copy.options import TransferOptions
from p2p_copy.protocol.escape import escape
from p2p_copy.value import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from p2p_copy.files.state.facts import Command
    from p2p_copy.files.state.store import State, States
    from p2p_copy.options import ReceiveOptions, RelayAccess, SendOptions

T = TypeVar("T", bound=TransferOptions)


def send_command(
    relays: Iterable[RelayAccess], paths: Sequence[str], options: SendOptions, *, verify: bool = False
) -> SendCommand:
    """Return what to remember of sending these paths, which are made absolute, unless they are "-" or empty."""
    standard = STANDARD in paths
    places = tuple(os.path.abspath(path) if path and not standard else path for path in paths)
    return SendCommand(relays=_known(relays), paths=places, options=_rememberable(options), verify=verify)


def receive_command(
    relays: Iterable[RelayAccess], out: str, options: ReceiveOptions, *, verify: bool = False
) -> ReceiveCommand:
    """Return what to remember of receiving into a directory, whose path is made absolute, unless it is "-"."""
    place = out if out == STANDARD else os.path.abspath(out)
    return ReceiveCommand(relays=_known(relays), out=place, options=_rememberable(options), verify=verify)


def _known(relays: Iterable[RelayAccess]) -> tuple[KnownRelay, ...]:
    return tuple(KnownRelay(relay.url, relay.pin) for relay in relays)


def _rememberable(options: T) -> T:
    """Return options as they come back from a state: what each run asks for anew has its default."""
    receipt = None if options.receipt is None else os.path.abspath(os.fspath(options.receipt))
    kept = {name: getattr(options, name) for name in REMEMBERED[type(options)]}
    return type(options)(**kept | {"receipt": receipt})


def check_private(directory: str) -> None:
    """Check that no other user can choose what is sent, and where it is written, by writing states.

    Raises:
        UsageError: other users may write into the directory.

    """
    if access_of_others(directory) is Access.WRITE:
        raise UsageError(
            f"Other users may write into {escape(directory)}, where transfers are saved, so they could choose what is "
            "sent or where it is written. Use another `state_dir` that only you may write to, as a new one is. If "
            "this one is yours: chmod 700"
        )


def open_transfer(states: States, command: Command, code: str, *, save_code: bool = False) -> State:
    """Return the state of a transfer, a new one if there is none; with `save_code` a new state holds the code.

    Raises:
        UsageError: another process is running this transfer.
        OSError: the state cannot be read or written.
        ValueError: the command is longer than a state may be.

    """
    id_ = states.id_of(_identity(command, code))
    try:
        if (state := states.open(id_)) is not None:
            return state
        used_up = any(
            each.facts.spent and belongs_to(states, each.id, each.facts, code) for each in states.all()
        )
        facts = Facts(command=command, began=time.time(), code=code if save_code else None, spent=used_up)
        return states.create(id_, facts)
    except StateBusy:
        raise UsageError(
            "Another p2p-copy on this machine is running this transfer. Wait for it, or stop it first."
        ) from None


def same_command(states: States, command: Command) -> State | None:
    """Return the state of a transfer that this command began before, with a code of ours; None if there is none.

    Another receipt, pin, number of links or order of relays does not make it another transfer, nor does comparing
    words.
    """
    for each in states.all():
        if not each.busy and _without_extras(each.facts.command) == _without_extras(command):
            with suppress(StateBusy, OSError):
                return states.open(each.id)
    return None


def belongs_to(states: States, id_: str, facts: Facts, code: str) -> bool:
    """Return whether a transfer was begun with this code.

    Raises:
        OSError: the key of the states cannot be read or written.

    """
    return facts.command is not None and id_ == states.id_of(_identity(facts.command, code))


def _without_extras(command: Command | None) -> Command | None:
    if not isinstance(command, SendCommand):
        return command
    options = replace(command.options, receipt=None, links=None)
    urls = sorted(relay.url for relay in command.relays)
    return replace(
        command, options=options, relays=tuple(KnownRelay(url, None) for url in urls), verify=False
    )


def _identity(command: Command, code: str) -> bytes:
    """Return what identifies the transfer of this command with this code."""
    return "\0".join((command.role, code, *command.places)).encode(errors="surrogateescape")
