"""`p2p-copy verify`: is what was delivered still there, as it was?"""

from __future__ import annotations

from p2p_copy.cli import limits
from p2p_copy.cli.ui.display import displayed
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import VerificationFailed
from p2p_copy.files.receipts.verify import Scope, verify as compare
from p2p_copy.units import amount

_ROOT_DIGITS = 16


def verify(
    receipt: str, directory: str, *, times: bool, preserved: bool, complete: bool, strict: bool, quiet: bool
) -> int:
    """Compare a directory with a receipt, and return exit code 0.

    Raises:
        VerificationFailed: something differs.
        UsageError: there is no such receipt or directory, or it is no receipt.

    """
    terminal = Terminal.standard(quiet=quiet)
    named = 0

    def differs(path: str, how: str) -> None:
        nonlocal named
        if not path:
            terminal.error(how)
        elif named < limits.PROBLEM_LINES:
            terminal.error(f"Differs: {displayed(path)} {how}")
        else:
            return
        named += 1

    verdict = compare(
        receipt,
        directory,
        Scope(times=times, preserved=preserved, complete=complete, strict=strict),
        differs,
    )
    if verdict.failures or verdict.skipped:
        terminal.error(
            "Not compared, since that transfer did not bring them: "
            f"{verdict.failures} not delivered, {verdict.skipped} left as they were."
        )
    if verdict.undelivered and not complete:
        terminal.error(
            f"Not compared, since the receipt says that they were not delivered: {verdict.undelivered} of its "
            "entries. Its root digest does not prove that; --complete takes them for differences."
        )
    if verdict.differences > named:
        terminal.error(f"... and {verdict.differences - named} more differences.")
    if verdict.differences:
        raise VerificationFailed
    files = "1 file" if verdict.files == 1 else f"{verdict.files} files"
    what = "What was delivered" if verdict.undelivered else "All"
    terminal.verdict(
        f"{what} is as it was: {files}, {amount(verdict.size)}, digest {verdict.root[:_ROOT_DIGITS]}."
    )
    return 0
