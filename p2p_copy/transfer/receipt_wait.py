"""Decides how long a sender waits for the receipt, and says which party it waits for.

Sockets and relays hold megabytes, so what has left this side need not have arrived. So what the observer
hears, and when the sender gives up, depends only on what the receiver says that it has.
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
    from p2p_copy.peer.channel import Channel
    from p2p_copy.protocol.messages import Message
    from p2p_copy.protocol.session import Session
    from p2p_copy.transport.timeouts import Deadline


class ReceiptWait:
    """What a sender knows about how much of one conversation has arrived.

    Attributes:
        stalls: what this side waits for; `conversation.send_until_receipt` runs its `watch`.

    """

    def __init__(
        self,
        channel: Channel,
        session: Session,
        observer: Observer,
        slow_output: Callable[[], str] | None = None,
    ) -> None:
        """Begin with nothing sent.

        Args:
            channel: leads to the receiver.
            session: makes the records.
            observer: hears when only the receipt is missing.
            slow_output: given if the receiver's output may stand still for hours, so that anything that the receiver
                says is movement, and not only that it has more. Says what takes nothing at a receiver that has all
                records but has not written what is in them; "" if all is written.

        """
        self.stalls = Stalls(observer, channel)
        self._session = session
        self._observer = observer
        self._may_stand_still = slow_output is not None
        self._slow_output = slow_output or str  # `str()` is ""
        self._records_taken = 0
        self._all_sent = False
        self._verifying = False
        self._deadline: Deadline | None = None

    @contextmanager
    def patience(self) -> Iterator[None]:
        """Run a body that hears the receiver until its receipt, and bound it once all is sent.

        Raises:
            PeerLost: nothing has moved for `limits.RECEIPT_TIMEOUT`.

        """

        def moves() -> object:
            return self.stalls.heard_at if self._may_stand_still else self.stalls.outgoing

        with within(math.inf, moves=moves) as self._deadline:
            yield
        if self._deadline.is_over:
            if self._has_all:
                raise PeerLost("The receiver has everything, but does not confirm it.")
            time = duration(limits.RECEIPT_TIMEOUT)
            raise PeerLost(
                f"Everything was sent, but nothing more of it has reached the receiver for {time}."
            )

    def heard(self, message: Message) -> None:
        """Record how much the receiver has, if its message says so."""
        self.stalls.heard(message)
        if isinstance(message, Progress):
            self._records_taken = message.records
            self._report_verifying()

    async def after_all_is_sent(self) -> None:
        """Begin to count the time, and report which party delays the receipt, until this is cancelled."""
        self._all_sent = True
        assert self._deadline is not None, "the receiver is heard all the while"
        self._deadline.restart(limits.RECEIPT_TIMEOUT)
        self._report_verifying()
        with self.stalls.waiting_for(self._reason, lambda: self.stalls.outgoing):
            await trio.sleep_forever()

    @property
    def _has_all_records(self) -> bool:
        return self._records_taken >= self._session.made

    @property
    def _has_all(self) -> bool:
        return self._has_all_records and not self._slow_output()

    def _report_verifying(self) -> None:
        if self._all_sent and self._has_all and not self._verifying:
            self._verifying = True
            self._observer.verifying()

    def _reason(self) -> str:
        if self._has_all_records and (slow := self._slow_output()):
            return slow
        return no_receipt(self.stalls, has_all=self._has_all)
