"""What a sender knows of what it has sent, until the receiver has confirmed everything.

Sockets and relays hold megabytes, so what has left this side need not have arrived. All that is told to the observer,
and when the sender gives up, goes by what the receiver says that it has.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from p2p_copy.errors import PeerLost
from p2p_copy.protocol.messages import Progress
from p2p_copy.transfer import limits
from p2p_copy.transfer.stalls import Stalls, no_receipt
from p2p_copy.transport.timeouts import within
from p2p_copy.units import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from p2p_copy.observer import Observer
    from p2p_copy.protocol.messages import Message
    from p2p_copy.transfer.conversation import Conversation
    from p2p_copy.transport.timeouts import Deadline


class Delivery:
    """The records of one conversation, on their way to the receiver.

    Attributes:
        stalls: what this side waits for; the caller runs its `watch`.

    """

    def __init__(
        self,
        conversation: Conversation,
        observer: Observer,
        *,
        slow_output: Callable[[], str] = lambda: "",
    ) -> None:
        """Begin with nothing sent.

        `slow_output` says what takes nothing at a receiver that has all records but has not written what is in them; ""
        if all is written.
        """
        self.stalls = Stalls(observer, conversation)
        self._conversation = conversation
        self._observer = observer
        self._slow_output = slow_output
        self._taken = 0  # records
        self._all_sent = False
        self._told = False
        self._deadline: Deadline | None = None

    @contextmanager
    def patience(self, *, beats: bool) -> Iterator[None]:
        """Listen in the body for the receipt.

        Once all is sent, that may take `limits.RECEIPT_TIMEOUT` without movement; with `beats` anything that the
        receiver says is movement, else only that it has more.

        Raises:
            PeerLost: the time is over.

        """

        def moves() -> object:
            return self._conversation.heard_at if beats else self.stalls.gone

        with within(math.inf, moves=moves) as self._deadline:
            yield
        if self._deadline.is_over:
            if self._has_all:
                raise PeerLost("The receiver has everything, but does not confirm it.")
            time = duration(limits.RECEIPT_TIMEOUT)
            raise PeerLost(
                f"Everything was sent, but nothing more of it has reached the receiver for {time}."
            )

    def hear(self, message: Message) -> None:
        """Note what the receiver has said, other than that it is there."""
        self.stalls.there = message
        if isinstance(message, Progress):
            self._taken = message.records
            self._look()

    async def wait_for_receipt(self) -> None:
        """Say that all is sent, and on whom it is that there is no receipt, until this is cancelled."""
        self._all_sent = True
        assert self._deadline is not None, "somebody listens"
        self._deadline.restart(limits.RECEIPT_TIMEOUT)
        self._look()
        with self.stalls.waiting_for(self._on_whom, lambda: self.stalls.gone):
            await trio.sleep_forever()

    @property
    def _has_all(self) -> bool:
        return self._taken >= self._conversation.session.made and not self._slow_output()

    def _look(self) -> None:
        if self._all_sent and self._has_all and not self._told:
            self._told = True
            self._observer.verifying()

    def _on_whom(self) -> str:
        if self._taken >= self._conversation.session.made and (slow := self._slow_output()):
            return slow
        return no_receipt(self.stalls, has_all=self._has_all)
