"""Who it is that a transfer waits for when nothing moves.

Each task says what it waits for while it does, and what would change if something moved meanwhile. What has lasted
for `limits.STALL` seconds without movement is told to the observer, again if the reason changes, and when it is over.
Nothing is ended here: a link that is dead is found out by the link itself.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from p2p_copy.protocol.rendezvous import FlowReport, FlowState, decode_movement
from p2p_copy.transfer import limits
from p2p_copy.transport.timeouts import Watch
from p2p_copy.units import KIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from p2p_copy.observer import Observer
    from p2p_copy.transfer.conversation import Conversation

LIMITED = "Nothing moves: a limit of the relay has held everything back"


class _Wait:
    """One thing that is waited for."""

    def __init__(self, what: str | Callable[[], str], moves: Callable[[], object]) -> None:
        self._what = what
        self._moves = moves
        self._seen: object = None
        self._watch = Watch()
        self.told = ""  # the sentence in which the observer knows of it
        self.lasted = 0.0

    def look(self) -> bool:
        """Return whether something has moved since the last look."""
        before, self._seen = self._seen, self._moves()
        self.lasted = self._watch.look(self._seen)
        return self._seen != before

    @property
    def sentence(self) -> str:
        return self._what if isinstance(self._what, str) else self._what()


class Stalls:
    """What is being waited for on this side. `watch` it in a task of its own."""

    def __init__(self, observer: Observer, conversation: Conversation) -> None:
        self._observer = observer
        self._conversation = conversation
        self._channel = conversation.channel
        self._waits: list[_Wait] = []  # the one that began first is told first
        self.there: object = None
        """What it has said last of what it has."""

    @property
    def hears(self) -> bool:
        """Whether the other side has said something lately."""
        return trio.current_time() - self._conversation.heard_at < limits.STALL

    @property
    def movement(self) -> FlowReport:
        """What the relay sees move. It would have said so by now if something did not."""
        return decode_movement(self._channel.aside) or FlowReport()

    @property
    def gone(self) -> object:
        """What changes when something of what this side sends has moved: to the relay, or at the other side."""
        taken, _ = self._channel.taken
        return taken // KIB, self.there  # a pong that is acknowledged is no movement, hence whole KiB

    @property
    def sends(self) -> bool:
        """Whether something has not left this side yet."""
        _, waits = self._channel.taken
        return waits

    @property
    def coming(self) -> object:
        """What changes when something of what the other side sends has come, if it is not whole yet."""
        return self._channel.under_way

    @contextmanager
    def waiting_for(
        self, what: str | Callable[[], str], moves: Callable[[], object] = lambda: None
    ) -> Iterator[None]:
        """Say what the body waits for.

        Args:
            what: a sentence without its end, or what makes one when it is needed.
            moves: returns something that changes when something moves while the body waits: then it is no stall.

        """
        wait = _Wait(what, moves)
        self._waits.append(wait)
        try:
            yield
        finally:
            self._waits.remove(wait)
            self._over(wait)

    def _over(self, wait: _Wait) -> None:
        if wait.told:
            wait.told = ""
            self._observer.moving()

    async def watch(self) -> None:
        """Tell the observer of every stall, until this is cancelled."""
        while True:
            await trio.sleep(limits.PROGRESS_INTERVAL)
            for wait in self._waits:
                if wait.look():
                    self._over(wait)
            if not self._waits:
                continue
            wait = max(self._waits, key=lambda wait: (bool(wait.told), wait.lasted))
            if wait.lasted >= limits.STALL and (sentence := wait.sentence) != wait.told:
                wait.told = sentence
                self._observer.stalled(sentence, wait.lasted)


def slow_way(stalls: Stalls) -> str:
    """Say who takes nothing from a sender, by what the relay and the receiver have said."""
    movement = stalls.movement
    match movement.there:
        case FlowState.UNTAKEN if not movement.answers:
            return "Nothing moves: the receiver's machine, or its network, has not answered the relay"
        case FlowState.UNTAKEN if stalls.hears:
            return "Nothing moves: the receiver is there, but the way to it has taken nothing from the relay"
        case FlowState.UNTAKEN:
            return "Nothing moves: the receiver's disk, or its network, has taken nothing from the relay"
        case FlowState.LIMITED:
            return LIMITED
        case FlowState.SILENT:
            return "Nothing moves: the way to the relay has taken nothing"
    if stalls.hears:
        return "Nothing moves: the receiver is there, but the way to it has taken nothing"
    return "Nothing moves: the relay, or the way to it, has taken nothing"


def no_receipt(stalls: Stalls, *, has_all: bool) -> str:
    """Say on whom it is that a sender which has sent everything has no receipt."""
    movement = stalls.movement
    if not has_all and (stalls.sends or movement.there in (FlowState.UNTAKEN, FlowState.LIMITED)):
        return slow_way(stalls)
    if not movement.answers:
        return "Nothing moves: the receiver's machine, or its network, has not answered the relay"
    if has_all:
        return "Nothing moves: the receiver has everything, and has not confirmed it"
    if stalls.hears:
        return "Nothing moves: the receiver is there, but what was sent last has not reached it"
    return "Nothing moves: everything was sent, and the receiver's disk, or the way to it, has taken nothing"


def nothing_comes_from_sender(movement: FlowReport, *, in_message: bool) -> str:
    """Say who brings nothing, by what the relay has said; in the middle of a message it can say nothing."""
    if in_message:
        return "Nothing moves: the way from the sender, or from the relay, has brought nothing"
    match movement.back:
        case FlowState.SILENT if not movement.answers:
            return "Nothing moves: the sender's machine, or its network, has not answered the relay"
        case FlowState.SILENT:
            return "Nothing moves: the sender's disk, or the way from it, has brought nothing to the relay"
        case FlowState.LIMITED:
            return LIMITED
    return "Nothing moves: the relay, or the way from it, has brought nothing"


def nothing_comes_from_pipe(movement: FlowReport) -> str:
    """Say who brings nothing of what the sender reads from its standard input, by what the relay has said."""
    match movement.back:
        case FlowState.LIMITED:
            return LIMITED
        case FlowState.SILENT if not movement.answers:
            return "Nothing moves: the sender's machine, or its network, has not answered the relay"
    return "Nothing moves: the sender's standard input, or the way from it, has brought nothing"
