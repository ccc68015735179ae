"""What is kept of files beyond contents, modes and times: the sender offers it, the receiver asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.options import Preserve
from p2p_copy.protocol.messages import Preserved

if TYPE_CHECKING:
    from collections.abc import Collection

    from p2p_copy.observe import Observer

_FLAGS = {Preserve.HARD_LINKS: Preserved.HARD_LINKS}


NO_HARD_LINKS = "The file system here has no hard links, so each name becomes a file of its own."


class Once:
    """Tells the user each thing once, however often the two sides meet."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._told: set[str] = set()

    def tell(self, *sentences: str) -> None:
        """Tell what was not told before."""
        for sentence in sentences:
            if sentence not in self._told:
                self._told.add(sentence)
                self._observer.notice(sentence)


def flags(chosen: Collection[Preserve]) -> Preserved:
    """Return what the caller has chosen, as it is said on the wire."""
    chosen_flags = Preserved.NOTHING
    for one in chosen:
        chosen_flags |= _FLAGS[one]
    return chosen_flags


def not_asked_for(preserve: Preserved, who: str) -> list[str]:
    """Return a sentence for each thing that this side would keep and the other one (`who`) has not named."""
    command = {"sender": "send", "receiver": "receive"}[who]
    return [
        f"The {who} was not started with '{command} --preserve {one.value}', so that is not kept."
        for one, flag in _FLAGS.items()
        if flag in preserve
    ]
