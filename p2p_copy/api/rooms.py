"""The rooms of one transfer at a relay, for a relay that serves no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from p2p_copy.protocol import keys

if TYPE_CHECKING:
    from p2p_copy.protocol.code import Code

MOST_AGREED: Final = 256
"""Rooms besides the code's, the latest ones: each meeting of the two sides has `MAX_LINKS` and one, and a room that is
tried again counts as the latest one."""


class Rooms:
    """The rooms of one transfer: that of its code, and the latest ones that its two sides have agreed on.

    A relay with these rooms serves this transfer only:

        rooms = p2p.Rooms(code)
        async with p2p.Relay("0.0.0.0", 8765, rooms=rooms) as relay:
            client = p2p.AsyncClient(relay.urls[0])
            async with client.open_send("results", code=code, rooms=rooms) as sending:
                report = await sending.wait()
    """

    def __init__(self, code: Code) -> None:
        """Start with the code's room, which is never dropped."""
        self._first = keys.room_id(code.room)
        self._agreed: dict[str, None] = {}  # the oldest one first

    def add(self, room: str) -> None:
        """Add a room, or make it the latest one again; beyond `MOST_AGREED` the oldest one is dropped."""
        self._agreed.pop(room, None)
        self._agreed[room] = None
        if len(self._agreed) > MOST_AGREED:
            del self._agreed[next(iter(self._agreed))]

    def __contains__(self, room: object) -> bool:
        """Tell whether a room is one of this transfer."""
        return room == self._first or room in self._agreed
