"""What would be sent, without a relay or another side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from p2p_copy.files.selection import Selection
from p2p_copy.files.source.entry import SourceEntry, SourceTrees
from p2p_copy.files.source.internal_files import InternalFiles
from p2p_copy.files.source.reader import SourceFailed, open_source
from p2p_copy.files.source.walk import own_name, walk
from p2p_copy.files.state.store import known_directories
from p2p_copy.files.user_paths import as_paths, check_paths
from p2p_copy.options import SendOptions, Symlinks
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Kind, Reason
from p2p_copy.transfer.reasons import SENTENCES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from p2p_copy.api.work import Paths

_KINDS: Final[dict[Kind, Literal["file", "directory", "symlink"]]] = {
    Kind.FILE: "file",
    Kind.DIRECTORY: "directory",
    Kind.SYMLINK: "symlink",
}


@dataclass(frozen=True, slots=True)
class SourceItem:
    """Something that would be sent, or left out.

    Attributes:
        path: its path, as a receiver would name it, escaped; empty for what is left out without a name: what patterns
            exclude, and unfinished files of p2p-copy itself.
        kind: what would be sent; None if it is left out.
        size: its bytes; 0 for all but files.
        target: what a symlink points to, escaped; empty for all others.
        excluded: patterns leave it out: a file or symlink, or a directory with everything in it.
        reason: why it is left out, to be read after the path; empty if it would be sent.

    """

    path: str
    kind: Literal["file", "directory", "symlink"] | None
    size: int = 0
    target: str = ""
    excluded: bool = False
    reason: str = ""


def preview(
    paths: Paths,
    *,
    symlinks: Symlinks | Literal["keep", "copy", "skip"] = Symlinks.KEEP,
    only: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
) -> Iterator[SourceItem]:
    """Iterate over what `send` would send to a receiver with portable names, and what it would leave out, and why.

    Each directory comes before its contents, and names in alphabetical order, so that two previews can be compared; a
    directory with more than 131,072 names is sorted in parts. It opens each file, but reads none. It blocks; use a
    thread in a program with an event loop.

        print(sum(item.size for item in p2p.preview("results", exclude="*.tmp")))

    Args:
        paths: a file or directory, or several.
        symlinks: see `SendOptions`, here and below.
        only: patterns of what to send.
        exclude: patterns of what to leave out.

    Raises:
        NothingToSend: none of the paths can be sent.
        UsageError: two paths have the same name; a pattern has the wrong form.
        ValueError, TypeError: an argument cannot be used.

    """
    options, sources = SendOptions(symlinks=symlinks, only=only, exclude=exclude), as_paths(paths)  # type: ignore[arg-type]
    selection = Selection(options.only, options.exclude)
    check_paths(sources)
    in_order = sorted(sources, key=own_name)
    return _items(SourceTrees(in_order, options.symlinks, selection))


def _items(trees: SourceTrees) -> Iterator[SourceItem]:
    for found in walk(trees, InternalFiles(known_directories(None))):
        if not isinstance(found, SourceEntry):
            excluded = found.reason is Reason.EXCLUDED
            yield SourceItem(found.path, None, excluded=excluded, reason=SENTENCES[found.reason])
        elif (reason := _problem(found)) is not None:
            yield SourceItem(escape(found.inner_path), None, reason=SENTENCES[reason])
        else:
            entry = found.entry
            target = escape(entry.target) if entry.kind is Kind.SYMLINK else ""
            yield SourceItem(escape(found.inner_path), _KINDS[entry.kind], entry.size, target)


def _problem(found: SourceEntry) -> Reason | None:
    """Return why a file cannot be opened; None if it can, or if it is no file."""
    if found.entry.kind is not Kind.FILE:
        return None
    try:
        with open_source(found):
            return None
    except SourceFailed as failure:
        return failure.reason
