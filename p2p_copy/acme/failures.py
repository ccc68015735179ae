"""What can fail in a try, as sentences for an operator."""

from __future__ import annotations

from p2p_copy.acme import limits


class TryFailure(Exception):
    """A try has failed. The text says why.

    Attributes:
        retry_after: seconds that the authority asked to wait; None if it did not.

    """

    retry_after: float | None = None


class AuthorityFailed(TryFailure):
    """The authority refused, or could not be reached, or its answer is none.

    Attributes:
        code: last word of the problem's type (RFC 8555, section 6.7), or a word of ours for another refusal; None if
            the authority has decided nothing.

    """

    def __init__(self, sentence: str, code: str | None = None, retry_after: float | None = None) -> None:
        """Say what happened."""
        super().__init__(sentence)
        self.code = code
        self.retry_after = retry_after


class NotTaken(TryFailure):
    """The relay could not use the certificate."""


class NotShown(TryFailure):
    """The relay could not show a challenge's certificate."""


def os_words(error: OSError) -> str:
    """Return what the system says of an error."""
    return words(error.strerror or str(error) or type(error).__name__)


def words(text: str) -> str:
    """Return what somebody else says so that it can stand in a line of a log."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= limits.MOST_WORDS else line[: limits.MOST_WORDS] + "…"
