"""What the receiver's user must know, so that both sides can meet."""

from __future__ import annotations

import shlex

from p2p_copy.value import NamedTuple


class Announcement(NamedTuple):
    """What a sender tells the receiver's user.

    Attributes:
        code: the code, if `send` has generated it; a code that the users chose themselves is not shown.
        words: the command for the other machine, without the code.
        is_vital: whether the receiver cannot connect unless its user has read this.
        picture: the code, or the link, as a picture of several lines; empty for none.
        link: a link for the receiver's browser, with the code in it; empty for none.

    """

    code: str | None
    words: tuple[str, ...]
    is_vital: bool
    picture: str = ""
    link: str = ""

    def shown_as(self, link: str, picture: str) -> Announcement:
        """Return the same with a link, or none, and a picture. A link was asked for, so it is not left out."""
        return self._replace(link=link, picture=picture, is_vital=self.is_vital or link != "")

    @property
    def lines(self) -> tuple[str, ...]:
        """The same for people."""
        return (
            *((f"Code: {self.code}",) if self.code is not None else ()),
            f"On the other machine: {shlex.join(self.words)}",
            *((f"Or in a browser: {self.link}",) if self.link else ()),
        )
