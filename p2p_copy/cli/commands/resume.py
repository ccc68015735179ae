"""`p2p-copy resume` and `p2p-copy forget`: transfers that were begun on this machine and are not finished."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from p2p_copy import AsyncClient, Client
from p2p_copy.cli import saved_transfers
from p2p_copy.cli.options import inputs
from p2p_copy.cli.saved_transfers import short
from p2p_copy.cli.ui.displays import open_display, open_terminal
from p2p_copy.cli.ui.prompt import asking_to_delete, asking_to_replace, comparison, yes_no_at
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.cli.ui.transfer_table import transfer_table
from p2p_copy.errors import OutputNotWritable, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy import SavedTransfer
    from p2p_copy.cli.options.client import ClientArguments


def resume(given: str | None, client: ClientArguments) -> int:
    """List the unfinished transfers, or resume one of them; return exit code 0.

    Raises:
        UsageError: there is no such transfer, or its two sides have never connected.
        P2PCopyError: what `send` and `receive` raise.

    """
    terminal = open_terminal(client)
    state_dir = saved_transfers.directory(client.state_dir, terminal)
    all_saved = Client(state_dir=state_dir).saved()
    if given is None:
        unfinished = [each for each in all_saved if each.side is not None and not each.used_up]
        if client.json:
            _list_as_json(unfinished, terminal)
        else:
            _list(unfinished, [each.id for each in all_saved if each.side is None], terminal)
        return 0
    saved = saved_transfers.find(all_saved, given)
    if saved.relays:  # a transfer that cannot be read has none, and is refused below
        inputs.refuse_needless_tls_options(saved.relays)
    access = inputs.access_to(saved.relays, client, terminal)
    inputs.check_that_words_can_be_compared(terminal, wanted=saved.verify)
    sends = saved.side == "sender"
    display = open_display(terminal, client, saved.id, sends=sends)
    announcement = None
    if sends:
        from p2p_copy.cli.commands.send import announcement_of

        announcement = announcement_of(saved)
    display.start(announcement)
    yes_no = yes_no_at(terminal, display)
    return saved_transfers.run_saved(
        saved,
        AsyncClient(access, state_dir=state_dir),
        client,
        display,
        verify=comparison(yes_no) if saved.verify else None,
        accept_deletion=asking_to_delete(terminal, yes_no),
        accept_replacement=asking_to_replace(terminal, yes_no),
    )


def _list(unfinished: Sequence[SavedTransfer], unreadable: Sequence[str], terminal: Terminal) -> None:
    for line in transfer_table(unfinished, terminal.result_columns) or ["No unfinished transfers."]:
        terminal.result(line)
    for id_ in unreadable:
        terminal.say(
            f"{short(id_)}  cannot be read and is ignored. To remove it: p2p-copy forget {short(id_)}"
        )


def _list_as_json(unfinished: Sequence[SavedTransfer], terminal: Terminal) -> None:
    from p2p_copy.cli.ui.json_lines import JsonLines, Started, Unfinished
    from p2p_copy.version import FULL_NAME

    lines = JsonLines(terminal)
    lines.write(Started(program=FULL_NAME, command="resume"))
    for each in unfinished:
        command: Literal["send", "receive"] = "send" if each.side == "sender" else "receive"
        about = each.id, each.began, command, each.paths, each.relays, each.running, each.size, each.total
        lines.write(Unfinished(*about))


def forget(ids: Sequence[str], directory: str | None) -> int:
    """Forget transfers, and remove their partial files; return exit code 0.

    Raises:
        UsageError: there is no such transfer, or it is running.

    """
    terminal = Terminal.standard()
    if not ids:
        raise UsageError("Which transfer? p2p-copy resume lists the unfinished ones.")
    client = Client(state_dir=saved_transfers.directory(directory, terminal))
    for given in ids:
        try:
            client.forget(saved_transfers.find(client.saved(), given).id)
        except OutputNotWritable as error:
            terminal.error(f"Its partial files could not be removed: {error}")
    return 0
