"""`p2p-copy receive`: receives files or a stream from the sender with the same code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy import AsyncClient, Client, Code, Conflict, Declined, NotVerified, Standard, UsageError
from p2p_copy.cli import saved_transfers
from p2p_copy.cli.options import inputs
from p2p_copy.cli.options.arguments import STANDARD, receive_words
from p2p_copy.cli.run import run_transfer
from p2p_copy.cli.ui.displays import open_display, open_terminal
from p2p_copy.cli.ui.prompt import Question, YesNo, asking_to_delete, asking_to_replace, comparison, yes_no_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from p2p_copy.api.keywords import ReceiveKeywords
    from p2p_copy.api.work import Accept, AcceptDeletion, AcceptReplacement
    from p2p_copy.cli.options.client import ClientArguments, ReceiveArguments, TransferArguments


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
    relays = inputs.relays_of(named.relay, transfer.server)
    inputs.check_that_words_can_be_compared(terminal, wanted=transfer.verify)
    text = inputs.written_code(named.code, transfer.code, transfer.code_file)
    code = inputs.ask_for_code(terminal) if text is None else Code.parse(text)
    if text is not None and terminal.is_interactive and (meant := code.similar) is not None:
        terminal.say(f"This code is read as one of your own. Did you mean {meant.text}?")
    # Not for a generated code, which is of use to others for one transfer only; an own code may be used again.
    if text is not None and not code.is_generated:
        inputs.warn_of_arguments(text, terminal, otherwise="leave it out, and receive asks for it")
    access = inputs.access_to(relays, client, terminal)
    if receiving.out == STANDARD and client.json:
        raise UsageError("With --out - standard output is what is received, so --json cannot write there.")
    if receiving.checksum and receiving.on_conflict is not Conflict.UPDATE:
        raise UsageError("--checksum says what --on-conflict update compares; it has no effect without that.")
    if receiving.on_conflict is Conflict.ASK and not transfer.dry_run and (why := terminal.why_unasked):
        raise UsageError(
            f"--on-conflict ask asks about each file, but {why}. In scripts use update, overwrite, rename, skip or "
            "refuse."
        )
    if receiving.delete:
        if receiving.on_conflict not in {Conflict.UPDATE, Conflict.OVERWRITE}:
            raise UsageError(
                "--delete makes the directories here the sender's: add --on-conflict update, or overwrite."
            )
        if not (receiving.yes or transfer.dry_run) and (why := terminal.why_unasked):
            raise UsageError(f"--delete asks before it deletes, but {why}. Pass --yes to delete unasked.")
    if receiving.out == STANDARD:
        transfer = inputs.for_pipe(transfer)
    options: ReceiveKeywords = {
        "on_conflict": receiving.on_conflict,
        "checksum": receiving.checksum,
        "delete": receiving.delete,
        "names": receiving.names,
        "preserve": receiving.preserve,
        "max_size": receiving.max_size,
        "max_files": receiving.max_files,
        "only": transfer.only,
        "exclude": transfer.exclude,
        "receipt": client.receipt,
        "links": client.links or None,
        "wait": client.wait,
        "patience": client.patience,
        "limit_rate": client.limit_rate,
        "reverify": receiving.reverify,
    }

    def question(yes_no: YesNo | None) -> Accept | None:
        if receiving.yes or yes_no is None or terminal.why_unasked:
            return None
        return Question(terminal, yes_no, receiving.on_conflict, delete=receiving.delete)

    def deletion(yes_no: YesNo | None) -> AcceptDeletion | None:
        return None if receiving.yes else asking_to_delete(terminal, yes_no)

    if not (receiving.yes or transfer.dry_run or receiving.out == STANDARD):
        inputs.refuse_to_ask(terminal)

    def replacement(yes_no: YesNo | None) -> AcceptReplacement | None:
        return _never if transfer.dry_run else asking_to_replace(terminal, yes_no)

    def run_unsaved(accept_with: Callable[[YesNo | None], Accept | None]) -> int:
        display = open_display(terminal, client, None, sends=False)
        display.start(None)
        yes_no = yes_no_at(terminal, display)
        opened = AsyncClient(access).open_receive(
            Standard.OUTPUT if receiving.out == STANDARD else receiving.out,
            code=code,
            accept=accept_with(yes_no),
            verify=comparison(yes_no) if transfer.verify else None,
            accept_deletion=deletion(yes_no),
            accept_replacement=replacement(yes_no),
            **options,
        )
        return run_transfer(opened, display, client.deadline, resume_id=None)

    if transfer.dry_run:
        from p2p_copy.cli.commands.dry_run import ShowAndDecline

        declining = ShowAndDecline(
            terminal, receiving.on_conflict, receiving.max_size, receiving.max_files, json=client.json
        )
        try:
            run_unsaved(lambda yes_no: declining)
        except* NotVerified:
            raise
        except* Declined:
            pass  # a dry run always declines
        declining.check_space()
        return 0
    if receiving.out == STANDARD:  # what was written to it is lost with this process, so it cannot be resumed
        return run_unsaved(lambda yes_no: None)
    state_dir = saved_transfers.directory(client.state_dir, terminal)
    saving = Client(access, state_dir=state_dir)
    saved = saved_transfers.begin(
        saving,
        lambda: saving.save_receive(receiving.out, code=code, verify=transfer.verify, **options),
        code,
        terminal,
    )
    if saved is None:
        return run_unsaved(question)
    display = open_display(terminal, client, saved.id, sends=False)
    display.start(None)
    yes_no = yes_no_at(terminal, display)
    return saved_transfers.run_saved(
        saved,
        AsyncClient(access, state_dir=state_dir),
        client,
        display,
        code=code,
        accept=question(yes_no),
        verify=comparison(yes_no) if transfer.verify else None,
        accept_deletion=deletion(yes_no),
        accept_replacement=replacement(yes_no),
        reverify=receiving.reverify,
    )


def _never(_path: str) -> bool:
    """Answer for a dry run, which declines before anything is asked."""
    return False
