"""Tells the user which party a transfer waits for when nothing moves.

Each task says what it waits for, and passes a value that changes when something moves. If a wait has lasted
`limits.STALL` seconds without such a change, the observer is told, again if the reason changes, and once more when it
is over. Nothing is ended here: a link that is dead is found by the link itself.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from p2p_copy.protocol.rendezvous import FlowReport, FlowState, decode_flow_report
from p2p_copy.transfer import limits
from p2p_copy.transport.timeouts import Watch
from p2p_copy.units import KIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from p2p_copy.observer import Observer
    from p2p_copy.peer.channel import Channel
    from p2p_copy.protocol.messages import Message

LIMITED = "Nothing moves: a limit of the relay holds everything back"


class _Wait:
    """One thing that is waited for.

    Attributes:
        reported: the sentence that the observer was told; empty before that, and once it was told that data moves.
        lasted: seconds without movement, at the last look.

    """

    def __init__(self, what: str | Callable[[], str], moves: Callable[[], object]) -> None:
        self._what = what
        self._moves = moves
        self._seen: object = None
        self._watch: Watch | None = None  # most waits are over before the first look
        self.reported = ""
        self.lasted = 0.0

    def look(self, besides: object) -> bool:
        """Return whether something has moved since the last look; `besides` what this wait knows, this counts too."""
        before, self._seen = self._seen, (self._moves(), besides)
        if self._watch is None:
            self._watch = Watch()
        self.lasted = self._watch.look(self._seen)
        return self._seen != before

    @property
    def sentence(self) -> str:
        return self._what if isinstance(self._what, str) else self._what()


class Stalls:
    """What this side waits for. Run `watch` in a task of its own.

    Attributes:
        heard_at: Trio's time when the other side last said something, or when this began.

    """

    def __init__(self, observer: Observer, channel: Channel) -> None:
        self._observer = observer
        self._channel = channel
        self._waits: list[_Wait] = []  # in the order in which they began
        self._last_message: object = None
        self._questions = self._looks_while_asking = 0
        self.heard_at = trio.current_time()

    def heard(self, message: Message) -> None:
        """Record what the other side says about what it has."""
        self._last_message = message
        self.heard_at = trio.current_time()

    @property
    def heard_lately(self) -> bool:
        """Whether the other side has said something in the last `limits.STALL` seconds."""
        return trio.current_time() - self.heard_at < limits.STALL

    @property
    def flow(self) -> FlowReport:
        """The relay's last flow report. The relay sends one within seconds after something stopped moving."""
        return decode_flow_report(self._channel.aside) or FlowReport()

    @property
    def outgoing(self) -> object:
        """A value that changes when something that this side sends has moved: to the relay, or at the other side."""
        taken, _ = self._channel.acked_bytes()
        return taken // KIB, self._last_message  # whole KiB: a pong that is acknowledged is no movement

    @property
    def has_unsent(self) -> bool:
        """Whether something has not left this side yet."""
        _, waiting = self._channel.acked_bytes()
        return waiting

    @property
    def incoming(self) -> object:
        """A value that changes when a part of a record has come."""
        return self._channel.under_way

    @contextmanager
    def waiting_for(
        self, what: str | Callable[[], str], moves: Callable[[], object] = lambda: None
    ) -> Iterator[None]:
        """Say what the body waits for.

        Args:
            what: a sentence without its full stop, or a function that makes one when it is needed.
            moves: returns a value that changes when something moves while the body waits: then it is no stall.

        """
        wait = _Wait(what, moves)
        self._waits.append(wait)
        try:
            yield
        finally:
            self._waits.remove(wait)
            self._end(wait)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Report no stall while the body asks this side's user, who sees the question and may take any time."""
        self._questions += 1
        try:
            yield
        finally:
            self._questions -= 1

    def _end(self, wait: _Wait) -> None:
        if wait.reported:
            wait.reported = ""
            self._observer.moving()

    async def watch(self) -> None:
        """Tell the observer of every stall, until this is cancelled."""
        while True:
            await trio.sleep(limits.PROGRESS_INTERVAL)
            self._looks_while_asking += bool(self._questions)
            for wait in self._waits:
                if wait.look(self._looks_while_asking):
                    self._end(wait)
            if not self._waits:
                continue
            wait = max(self._waits, key=lambda wait: (bool(wait.reported), wait.lasted))
            if wait.lasted >= limits.STALL and (sentence := wait.sentence) != wait.reported:
                wait.reported = sentence
                self._observer.stalled(sentence, wait.lasted)


def slow_way(stalls: Stalls) -> str:
    """Return a sentence about the party that stops a sender's data, as the relay and the receiver report."""
    flow = stalls.flow
    match flow.there:
        case FlowState.UNTAKEN if not flow.answers:
            return "Nothing moves: the receiver's machine, or its network, does not answer the relay"
        case FlowState.UNTAKEN if stalls.heard_lately:
            return "Nothing moves: the receiver is there, but its connection is not accepting data from the relay"
        case FlowState.UNTAKEN:
            return "Nothing moves: the receiver's disk, or its network, is not accepting data from the relay"
        case FlowState.LIMITED:
            return LIMITED
        case FlowState.SILENT:
            return "Nothing moves: the connection to the relay is not accepting data"
    if stalls.heard_lately:
        return "Nothing moves: the receiver is there, but the connection to it is not accepting data"
    return "Nothing moves: the relay, or the network to it, is not accepting data"


def no_receipt(stalls: Stalls, *, has_all: bool) -> str:
    """Return why a sender that has sent everything has no receipt."""
    flow = stalls.flow
    if not has_all and (stalls.has_unsent or flow.there in (FlowState.UNTAKEN, FlowState.LIMITED)):
        return slow_way(stalls)
    if not flow.answers:
        return "Nothing moves: the receiver's machine, or its network, does not answer the relay"
    if has_all:
        return "Nothing moves: the receiver has everything, and has not confirmed it"
    if stalls.heard_lately:
        return "Nothing moves: the receiver is there, but what was sent last has not reached it"
    return "Nothing moves: everything was sent, but the receiver's disk, or the connection to it, is not accepting data"


def nothing_comes_from_sender(flow: FlowReport, *, in_message: bool) -> str:
    """Return a sentence about the party that delivers no data. Inside a message no report of the relay can come."""
    if in_message:
        return "Nothing moves: the connection from the sender, or from the relay, delivers no data"
    match flow.back:
        case FlowState.SILENT if not flow.answers:
            return "Nothing moves: the sender's machine, or its network, does not answer the relay"
        case FlowState.SILENT:
            return (
                "Nothing moves: the sender's disk, or the connection from it, delivers no data to the relay"
            )
        case FlowState.LIMITED:
            return LIMITED
    return "Nothing moves: the relay, or the connection from it, delivers no data"


def nothing_comes_from_pipe(flow: FlowReport) -> str:
    """Return a sentence about the party that delivers no data of the sender's standard input, by the relay's report."""
    match flow.back:
        case FlowState.LIMITED:
            return LIMITED
        case FlowState.SILENT if not flow.answers:
            return "Nothing moves: the sender's machine, or its network, does not answer the relay"
    return "Nothing moves: the sender's standard input, or the connection from it, delivers no data"
