"""`p2p-copy verify`: compares a directory with the receipt of a transfer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from p2p_copy.api.verify import verify as compare
from p2p_copy.cli import limits
from p2p_copy.cli.ui.display import displayed
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import VerificationFailed
from p2p_copy.units import amount, count

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_copy import Verdict


def verify(
    receipt: str,
    directory: str,
    *,
    times: bool,
    preserved: bool,
    complete: bool,
    strict: bool,
    quiet: bool,
    json: bool,
) -> int:
    """Compare a directory with a receipt, and return exit code 0.

    Raises:
        VerificationFailed: something differs.
        UsageError: the receipt or the directory does not exist, or the file is no receipt.

    """
    comparison = partial(
        compare, receipt, directory, times=times, preserved=preserved, complete=complete, strict=strict
    )
    terminal = Terminal.standard(quiet=quiet or json)
    verdict = _write_objects(comparison, terminal) if json else _show(comparison, terminal, complete=complete)
    if verdict.differences:
        raise VerificationFailed("The directory differs from the receipt (see above).")
    return 0


def _write_objects(comparison: Callable[..., Verdict], terminal: Terminal) -> Verdict:
    """Write each difference and the verdict for a program."""
    from p2p_copy.cli.ui.json_lines import Difference, JsonLines, Started
    from p2p_copy.version import FULL_NAME

    lines = JsonLines(terminal)
    lines.write(Started(program=FULL_NAME, command="verify"))

    def differs(path: str, how: str) -> None:
        lines.write(Difference(path, how))
        terminal.wait_for_reader()

    verdict = comparison(on_difference=differs)
    lines.write(verdict)
    return verdict


def _show(comparison: Callable[..., Verdict], terminal: Terminal, *, complete: bool) -> Verdict:
    """Show the first differences and the verdict to the user."""
    shown = 0

    def differs(path: str, how: str) -> None:
        nonlocal shown
        if not path:
            terminal.error(how)
        elif shown < limits.PROBLEM_LINES:
            terminal.error(f"Differs: {displayed(path)} {how}")
        else:
            return
        shown += 1

    verdict = comparison(on_difference=differs)
    if verdict.failures or verdict.skipped:
        terminal.error(
            "Not compared, because the transfer did not deliver them: "
            f"{verdict.failures} failed, {verdict.skipped} skipped."
        )
    if verdict.undelivered and not complete:
        terminal.error(
            f"Not compared, because the receipt says that they were not delivered: {verdict.undelivered} of its "
            "entries. Its root digest does not prove that; --complete counts them as differences."
        )
    if verdict.unread:
        terminal.error(
            f"Compared by size and time only: {verdict.unread} of the files. They were up to date before the transfer, "
            "which did not read them, so the receipt has no digests of them."
        )
    if verdict.differences > shown:
        terminal.error(f"... and {verdict.differences - shown} more differences.")
    if not verdict.differences:
        files = count(verdict.files, "file")
        what = "What was delivered" if verdict.undelivered else "Everything"
        digest = verdict.root[: limits.DIGEST_DIGITS]
        terminal.verdict(f"{what} is unchanged: {files}, {amount(verdict.size)}, digest {digest}.")
    return verdict
