"""The options of `run-relay-server` about its log. Nothing heavy is imported before it begins."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

    from p2p_copy.cli.ui.output import Writer
    from p2p_copy.relay.log.lines import Lines

JOURNAL_VARIABLE: Final = "JOURNAL_STREAM"
"""Set by systemd (systemd.exec(5)): device and inode of the journal's end of standard output or standard error."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class RelayLog:
    """What the log is to look like."""

    log_format: Annotated[
        Literal["text", "json"] | None,
        Parameter(help="Lines for people (text, the default), or one JSON object a line."),
    ] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None,
        Parameter(
            help="Least level of what is logged, info unless told otherwise; debug tells of every client that is "
            "refused."
        ),
    ] = None
    log_addresses: Annotated[
        bool, Parameter(negative="", show_default=False, help="Tell clients' addresses in the log.")
    ] = False

    @property
    def is_asked_for(self) -> bool:
        """Whether any of this was said."""
        return self != DEFAULT_LOG

    @property
    def is_json(self) -> bool:
        """Whether lines are for machines."""
        return self.log_format == "json"

    def begin(self, writer: Writer, environ: Mapping[str, str], *, default: str = "info") -> Lines:
        """Log to `writer` from now on, from the level `default` on if none was said."""
        import logging

        from p2p_copy.relay.log.lines import configure

        lines = configure(
            writer.put,
            level=logging.getLevelNamesMapping()[(self.log_level or default).upper()],
            as_json=self.is_json,
            journal=writer.stream is not None and is_journal(writer.stream, environ),
        )
        writer.describe = lines.describe
        return lines


DEFAULT_LOG: Final = RelayLog()
"""The defaults."""


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether what is written to `stream` goes to systemd's journal, and not, say, to a file."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get(JOURNAL_VARIABLE) == f"{status.st_dev}:{status.st_ino}"
