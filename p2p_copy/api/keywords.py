"""The options of a transfer as keyword arguments. Each means what it means in `p2p_copy.options`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

    from p2p_copy.options import Conflict, Names, Preserve, Symlinks

    OnePreserve: TypeAlias = Preserve | Literal["hard-links", "xattrs", "owner", "mode"]


class TransferKeywords(TypedDict, total=False):
    """What both sides can choose; see `TransferOptions`."""

    preserve: OnePreserve | Iterable[OnePreserve]
    only: str | Iterable[str]
    exclude: str | Iterable[str]
    receipt: str | PathLike[str] | None
    wait: float
    patience: float
    limit_rate: int | None
    links: int | None


class SendKeywords(TransferKeywords, total=False):
    """How to send; see `SendOptions`."""

    symlinks: Symlinks | Literal["keep", "copy", "skip"]
    name: str


class ReceiveKeywords(TransferKeywords, total=False):
    """How to receive; see `ReceiveOptions`."""

    on_conflict: Conflict | Literal["refuse", "overwrite", "rename", "skip", "update", "ask"]
    names: Names | Literal["portable", "system"]
    max_size: int | None
    max_files: int | None
    checksum: bool
    delete: bool
    reverify: bool


class ResumeKeywords(TypedDict, total=False):
    """How to resume a saved transfer. What is not given is as it was begun, or as for a new transfer."""

    receipt: str | PathLike[str] | None
    wait: float
    patience: float
    limit_rate: int | None
    links: int | None
    reverify: bool
