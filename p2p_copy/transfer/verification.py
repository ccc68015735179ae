"""Asks this side's user whether the other side shows the same two words, before anything is transferred.

The user is asked in the first conversation of a process, and in each later one in which the two sides have met by the
code: a meeting by the ticket of a verified one needs no question. The other side knows from the key exchange that
there is a question, and waits. It hears a "no" as an Abort, and a "yes" as this side's next message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from p2p_copy.errors import NotVerified
from p2p_copy.transfer import limits
from p2p_copy.transfer.reasons import NEW_CODE
from p2p_copy.transport.timeouts import within

if TYPE_CHECKING:
    from p2p_copy.observer import Verify
    from p2p_copy.protocol.session import Session
    from p2p_copy.transfer.conversation import Conversation
    from p2p_copy.transfer.resumption import Resumption


class Verification:
    """Whether the words of the two sides are the same, as this side's user says."""

    def __init__(self, resumption: Resumption, answer: Verify | None) -> None:
        """Ask with `answer`; None to ask nothing."""
        self._resumption = resumption
        self._answer = answer
        self._verified = False

    async def ask(self, conversation: Conversation) -> None:
        """Let the user compare the words, if that is needed, and listen meanwhile.

        Raises:
            NotVerified: the words differ, or there was no answer in time.
            PeerLost, PeerFailed, PeerMisbehaved, LinkBroken, EndOfStream: the other side is gone, or gave up.

        """
        if self._answer is None or (self._verified and not self._resumption.met_by_code):
            return
        yes: bool | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(conversation.listen_for_end)
            with within(limits.ANSWER_TIMEOUT):
                yes = await self._answer(conversation.session.words)
            nursery.cancel_scope.cancel()
        if not yes:
            raise NotVerified(
                f"You said that the two sides show different words. {NEW_CODE}"
                if yes is False
                else f"There was no answer. {NEW_CODE}"
            )
        self._verified = True


def answer_time(session: Session) -> float:
    """Return the seconds that the other side may take for its question."""
    return limits.ANSWER_TIMEOUT if session.peer_verifies else 0.0
