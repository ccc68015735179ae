"""What the receiver's user must know, so that both sides can meet."""

from __future__ import annotations

import shlex
from typing import NamedTuple


class Announcement(NamedTuple):
    """What a sender tells the receiver's user.

    Attributes:
        code: the code, if `send` has generated it; a code that the users chose themselves is not shown.
        words: the command for the other machine, without the code.
        is_vital: whether the receiver cannot connect unless its user has read this.
        picture: the code as a picture of several lines; empty for none.

    """

    code: str | None
    words: tuple[str, ...]
    is_vital: bool
    picture: str = ""

    def with_picture(self, picture: str) -> Announcement:
        """Return the same with a picture of the code."""
        return self._replace(picture=picture)

    @property
    def lines(self) -> tuple[str, ...]:
        """The same for people."""
        command = f"On the other machine: {shlex.join(self.words)}"
        return (command,) if self.code is None else (f"Code: {self.code}", command)
