"""Who it is that a transfer waits for when nothing moves.

Each task says what it waits for while it does. What has lasted for `limits.STALL` seconds is told to the observer,
again if the reason changes, and when it is over. Nothing is ended here: a link that is dead is found out by the link
itself.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from p2p_copy import limits
from p2p_copy.protocol.rendezvous import Movement, Way, decode_movement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from p2p_copy.bundle import Bundle
    from p2p_copy.observe import Observer

LIMITED = "Nothing moves: a limit of the relay has held everything back"


class Stalls:
    """What is being waited for on this side. `watch` it in a task of its own."""

    def __init__(self, observer: Observer, link: Bundle) -> None:
        self._observer = observer
        self._link = link
        self._since: dict[str | Callable[[], str], float] = {}
        self._told: str | Callable[[], str] | None = None
        self._sentence = ""  # in which that was told
        self.heard_at = trio.current_time()
        """When the other side last said anything."""

    @property
    def hears(self) -> bool:
        """Whether the other side has said something lately."""
        return trio.current_time() - self.heard_at < limits.STALL

    @property
    def movement(self) -> Movement:
        """What the relay sees move. It would have said so by now if something did not."""
        return decode_movement(self._link.aside) or Movement()

    @contextmanager
    def waiting_for(self, what: str | Callable[[], str]) -> Iterator[None]:
        """Say what the body waits for: a sentence without its end, or what makes one when it is needed."""
        self._since[what] = trio.current_time()
        try:
            yield
        finally:
            del self._since[what]
            if what == self._told:
                self._told = None
                self._observer.moving()

    async def watch(self) -> None:
        """Tell the observer of every stall, until this is cancelled."""
        while True:
            await trio.sleep(limits.PROGRESS_INTERVAL)
            if not self._since:
                continue
            what = self._told or min(self._since, key=self._since.__getitem__)
            lasted = trio.current_time() - self._since[what]
            sentence = what if isinstance(what, str) else what()
            if lasted >= limits.STALL and (what, sentence) != (self._told, self._sentence):
                self._told, self._sentence = what, sentence
                self._observer.stalled(sentence, lasted)


def slow_way(stalls: Stalls) -> str:
    """Say who takes nothing from a sender, by what the relay and the receiver have said."""
    movement = stalls.movement
    match movement.there:
        case Way.UNTAKEN if not movement.answers:
            return "Nothing moves: the receiver's machine, or its network, has not answered the relay"
        case Way.UNTAKEN if stalls.hears:
            return "Nothing moves: the receiver is there, but the way to it has taken nothing from the relay"
        case Way.UNTAKEN:
            return "Nothing moves: the receiver's disk, or its network, has taken nothing from the relay"
        case Way.LIMITED:
            return LIMITED
        case Way.SILENT:
            return "Nothing moves: the way to the relay has taken nothing"
    if stalls.hears:
        return "Nothing moves: the receiver is there, but the way to it has taken nothing"
    return "Nothing moves: the relay, or the way to it, has taken nothing"


def nothing_comes_from_sender(movement: Movement, *, in_message: bool) -> str:
    """Say who brings nothing, by what the relay has said; in the middle of a message it can say nothing."""
    if in_message:
        return "Nothing moves: the way from the sender, or from the relay, has brought nothing"
    match movement.back:
        case Way.SILENT if not movement.answers:
            return "Nothing moves: the sender's machine, or its network, has not answered the relay"
        case Way.SILENT:
            return "Nothing moves: the sender's disk, or the way from it, has brought nothing to the relay"
        case Way.LIMITED:
            return LIMITED
    return "Nothing moves: the relay, or the way from it, has brought nothing"
