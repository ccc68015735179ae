"""The table of unfinished transfers, fitted to the width: columns, or below each other on a narrow terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from p2p_copy.cli.ui.display import columns_of, displayed
from p2p_copy.units import amount

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from p2p_copy import SavedTransfer

_HEADER: Final = ("ID", "SIDE", "HOW FAR", "SINCE", "RELAY")
_WHAT: Final = "WHAT"
_GAP: Final = "  "
_ID: Final = 8
_LEAST_PATH: Final = 16
"""Columns of a path in a row. Where a row has fewer, the relay is left out of it, or the path gets its own line."""

_UNBOUNDED: Final = 10**6
"""Columns of a pipe or a file, in which nothing is cut."""


def transfer_table(transfers: Sequence[SavedTransfer], columns: int | None) -> list[str]:
    """Return the lines of a table with a header, none without transfers.

    Args:
        transfers: those to list.
        columns: of the terminal; None for a pipe or a file.

    """
    if not transfers:
        return []
    space = columns or _UNBOUNDED
    cells = [
        _HEADER,
        *((each.id[:_ID], _side(each), _how_far(each), _since(each), _relay(each)) for each in transfers),
    ]
    aligned = list(zip(*map(_aligned, zip(*cells, strict=True)), strict=True))
    for shown in (len(_HEADER), len(_HEADER) - 1):
        rows = [_GAP.join((*row[:shown], "")) for row in aligned]
        rest = space - columns_of(rows[0])
        if rest >= _LEAST_PATH:
            whats = [_WHAT, *(_paths(each, rest) for each in transfers)]
            return [row + what for row, what in zip(rows, whats, strict=True)]
    return list(_below_each_other(transfers, aligned, space))


def _below_each_other(
    transfers: Sequence[SavedTransfer], aligned: Sequence[tuple[str, ...]], columns: int
) -> Iterator[str]:
    """Yield a row of what is short, and below it a line for each of the others."""
    indent = " " * len(_GAP)
    yield _GAP.join(aligned[0][:3]).rstrip()
    for each, row in zip(transfers, aligned[1:], strict=True):
        yield _GAP.join(row[:3]).rstrip()
        for line in (_paths(each, columns - len(indent)), _relay(each), f"since {_since(each)}"):
            yield indent + line


def _aligned(cells: Sequence[str]) -> list[str]:
    width = max(map(columns_of, cells))
    return [cell + " " * (width - columns_of(cell)) for cell in cells]


def _side(saved: SavedTransfer) -> str:
    if saved.running:
        return "sending" if saved.side == "sender" else "receiving"
    return "send" if saved.side == "sender" else "receive"


def _how_far(saved: SavedTransfer) -> str:
    if not saved.met:
        return "nothing yet"
    if saved.total is None:
        return amount(saved.size) if saved.size else "begun"
    share = min(saved.size * 100 // saved.total, 99) if saved.total else 99
    return f"{share}% of {amount(saved.total)}"


def _since(saved: SavedTransfer) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(saved.began))


def _relay(saved: SavedTransfer) -> str:
    return ", ".join(displayed(url.partition("://")[2].removesuffix(":443")) for url in saved.relays)


def _paths(saved: SavedTransfer, columns: int) -> str:
    """Return all paths if they fit, else the first one, cut if need be, and how many more there are."""
    whole = ", ".join(displayed(path, _UNBOUNDED) for path in saved.paths)
    if columns_of(whole) <= columns:
        return whole
    more = f", and {len(saved.paths) - 1} more" if len(saved.paths) > 1 else ""
    return displayed(saved.paths[0], columns - len(more) - len('""')) + more
