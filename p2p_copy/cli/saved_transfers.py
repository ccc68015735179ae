"""Transfers that are saved between two runs of a command: begins, resumes, finds and describes them."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from p2p_copy import AsyncClient, Client, NotSaved, default_state_dir, escape
from p2p_copy.cli.run import run_transfer
from p2p_copy.cli.ui.display import displayed, with_options
from p2p_copy.errors import UsageError
from p2p_copy.files.user_directories import belongs_to_other_user
from p2p_copy.options import STATE_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from p2p_copy import Code, SavedTransfer
    from p2p_copy.api.keywords import ResumeKeywords
    from p2p_copy.api.work import Accept, AcceptDeletion, AcceptReplacement, Verify
    from p2p_copy.cli.options.client import ClientArguments
    from p2p_copy.cli.ui.displays import Display
    from p2p_copy.cli.ui.terminal import Terminal


def directory(option: str | None, terminal: Terminal) -> str:
    """Return where transfers are saved, and say so if HOME is another user's, into which nothing is written."""
    named = option or os.environ.get(STATE_VARIABLE)
    if not named and belongs_to_other_user(os.path.expanduser("~")):
        terminal.say(
            "HOME is another user's directory, as with sudo -E, so transfers are saved in "
            f"{escape(default_state_dir())}. --state-dir names another place."
        )
    return named or default_state_dir()


def begin(
    client: Client, save: Callable[[], SavedTransfer], code: Code | None, terminal: Terminal
) -> SavedTransfer | None:
    """Save a transfer, and tell the user what of it, or beside it, was saved before; None if it cannot be saved.

    Args:
        client: has the directory.
        save: saves it.
        code: the user's; None if a new one is made, unless one is saved.
        terminal: where to tell it.

    Raises:
        UsageError: another process is running this transfer.

    """
    earlier = {each.id: each for each in client.saved(code=code)}
    try:
        saved = save()
    except NotSaved as error:
        terminal.say(with_options(f"{error} It runs all the same, but cannot be resumed by another run."))
        return None
    before = earlier.get(saved.id)
    if before is None and code is not None:
        _say_what_others_there_are(saved, earlier.values(), terminal)
    elif before is not None and before.code and before.code == saved.code and not saved.met:
        terminal.say(
            f"Using the code of {_when(saved)}, when this command was started before. "
            f"For a new code: p2p-copy forget {short(saved.id)}, and start the command again."
        )
    return saved


def _say_what_others_there_are(
    saved: SavedTransfer, others: Iterable[SavedTransfer], terminal: Terminal
) -> None:
    """Name unfinished transfers with the same code, which the new one does not resume."""
    for other in others:
        if other.side == saved.side and other.can_resume:
            name = short(other.id)
            terminal.say(
                f"Another transfer was begun with this code and is not finished: {described(other)}. This one starts "
                f"from the beginning. To resume that one instead: p2p-copy resume {name}; to drop it: "
                f"p2p-copy forget {name}"
            )


def run_saved(
    saved: SavedTransfer,
    client: AsyncClient,
    options: ClientArguments,
    display: Display,
    *,
    code: Code | None = None,
    accept: Accept | None = None,
    verify: Verify | None = None,
    accept_deletion: AcceptDeletion | None = None,
    accept_replacement: AcceptReplacement | None = None,
    reverify: bool = False,
) -> int:
    """Begin or resume a saved transfer, and return exit code 0.

    `accept`, `verify` and the other two ask the user; `accept` is not used if the transfer was begun before.
    Raises what `run_transfer` raises.
    """
    if saved.met:
        display.resume(
            f"Resuming the transfer of {_when(saved)}. To start over instead: p2p-copy forget {short(saved.id)}"
        )
    now = options_now(options)
    if reverify:
        now["reverify"] = True
    opened = client.open_resume(
        saved.id,
        code=code,
        accept=accept,
        verify=verify,
        accept_deletion=accept_deletion,
        accept_replacement=accept_replacement,
        **now,
    )
    return run_transfer(opened, display, options.deadline, resume_id=short(saved.id))


def options_now(client: ClientArguments) -> ResumeKeywords:
    """Return the options that count for this run, whatever the transfer was begun with."""
    now: ResumeKeywords = {
        "wait": client.wait,
        "patience": client.patience,
        "limit_rate": client.limit_rate,
    }
    if client.receipt is not None:
        now["receipt"] = os.path.abspath(client.receipt)
    if client.links is not None:
        now["links"] = client.links or None
    return now


def short(id_: str) -> str:
    """Return the first letters of a transfer's id, which a user can type."""
    return id_[:8]


def find(all_saved: Sequence[SavedTransfer], given: str) -> SavedTransfer:
    """Return the transfer whose id starts with what the user has typed.

    Raises:
        UsageError: none does, or several do.

    """
    found = [each for each in all_saved if each.id.startswith(given.lower())]
    if len(found) != 1:
        raise UsageError(
            "Several transfers start with that ID. Type more of it."
            if found
            else f'No unfinished transfer matches "{escape(given)}". List them with p2p-copy resume.'
        )
    return found[0]


def relays_of(given: str, state_dir: str) -> tuple[str, ...]:
    """Return the URLs of the relays of the transfer whose id starts with what the user has typed; none if none does.

    `state_dir` is what the command line or the configuration says, empty for neither.
    """
    client = Client(state_dir=state_dir or default_state_dir())
    found = [each for each in client.saved() if each.id.startswith(given.lower())]
    return found[0].relays if len(found) == 1 else ()


def described(saved: SavedTransfer) -> str:
    """Return one line that describes a transfer, without its code or ticket."""
    direction = "send" if saved.side == "sender" else "receive into"
    where = ", ".join(map(displayed, saved.paths))
    line = f"{short(saved.id)}  {_when(saved)}  {direction} {where}  {escape(', '.join(saved.relays))}"
    return f"{line}, running now" if saved.running else line


def _when(saved: SavedTransfer) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(saved.began))
