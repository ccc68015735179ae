"""From what a receiver has done with records to what its observer is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.transfer.reasons import SENTENCES

if TYPE_CHECKING:
    from p2p_copy.observer import Observer
    from p2p_copy.transfer.tree.consumer import TreeConsumer


def tell(incoming: TreeConsumer, observer: Observer) -> None:
    """Tell how far it is, and what does not arrive."""
    done = incoming.outcomes
    for path, reason in done.take_problems():
        if reason.is_failure:
            observer.problem(path, SENTENCES[reason])
        else:
            observer.skipped(path)
    if incoming.total is not None:
        observer.total(*incoming.total)
        incoming.total = None
    observer.spared(done.spared)
    observer.progress(done.files, done.size)
