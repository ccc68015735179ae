"""Checks with a receipt that what a transfer has delivered is still there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.files.receipts.verify import Scope, verify as compare
from p2p_copy.files.user_paths import as_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from p2p_copy.files.receipts.verify import Verdict


def verify(
    receipt: str | PathLike[str],
    directory: str | PathLike[str],
    *,
    times: bool = False,
    preserved: bool = False,
    complete: bool = False,
    strict: bool = False,
    on_difference: Callable[[str, str], object] | None = None,
) -> Verdict:
    """Compare the files in a directory with the receipt of the transfer that brought them; neither network nor relay.

    Names, kinds, contents of files and targets of symlinks are always compared. It reads all files, so it takes as long
    as reading them, and blocks meanwhile; use a thread in a program with an event loop.

        assert not p2p.verify("receipt.jsonl", "incoming", strict=True).differences

    Args:
        receipt: the receipt's file.
        directory: where the files were received.
        times: compare times, permission bits and special bits as well.
        preserved: compare hard links, owners and extended attributes as well, as far as the receipt has them.
        complete: count entries that were not delivered as differences.
        strict: count files that the receipt does not name as differences.
        on_difference: is called with the path of each difference, escaped, and how it differs, to be read after the
            path. The path is empty for the receipt itself.

    Raises:
        UsageError: the receipt or the directory cannot be read, or the file is no receipt.
        TypeError: one of them is no path.

    """
    scope = Scope(times=times, preserved=preserved, complete=complete, strict=strict)
    return compare(as_path(receipt), as_path(directory), scope, on_difference or _ignore)


def _ignore(_path: str, _how: str) -> None:
    """Do nothing."""
