"""The options of `run-relay-server` about its log. `logging` is imported only when it starts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import Parameter

from p2p_copy.cli.options.groups import OUTPUT
from p2p_copy.cli.options.values import FLAG
from p2p_copy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

    from p2p_copy.cli.ui.output import Writer
    from p2p_copy.relay.log.lines import Lines


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class RelayLog:
    """Form and level of the log."""

    log_format: Annotated[
        Literal["text", "json"] | None,
        OUTPUT,
        Parameter(help="Lines of text (the default), or one JSON object a line."),
    ] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None,
        OUTPUT,
        Parameter(help="Lowest level to log; default: info. debug includes every client that is refused."),
    ] = None
    log_addresses: Annotated[bool, OUTPUT, FLAG, Parameter(help="Include clients' addresses in the log.")] = (
        False
    )

    quiet: Annotated[
        bool, OUTPUT, FLAG, Parameter(alias="-q", help="Log only errors, not even where the relay listens.")
    ] = False

    def begin(self, writer: Writer, environ: Mapping[str, str], *, default: str = "info") -> Lines:
        """Start logging to `writer`, at the level `default` if no level was given.

        Raises:
            UsageError: `quiet`, and another level.

        """
        import logging

        from p2p_copy.relay.log.lines import configure

        if self.quiet and self.log_level not in {None, "error"}:
            raise UsageError(
                f"--quiet logs only errors, and --log-level {self.log_level} more. Leave one out."
            )
        level = "error" if self.quiet else self.log_level or default
        lines = configure(
            writer.put,
            level=logging.getLevelNamesMapping()[level.upper()],
            as_json=self.log_format == "json",
            journal=writer.stream is not None and is_journal(writer.stream, environ),
        )
        writer.describe = lines.describe
        return lines


DEFAULT_LOG: Final = RelayLog()


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether `stream` leads to systemd's journal: JOURNAL_STREAM has its device and inode (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
