"""`p2p-copy doctor`: shows the findings of an examination, one a line."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from p2p_copy.cli import saved_transfers
from p2p_copy.cli.options import inputs
from p2p_copy.cli.run import run
from p2p_copy.cli.ui.display import one_line, with_options
from p2p_copy.cli.ui.help import paragraph
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.doctor.examination import Subject, examine, label
from p2p_copy.doctor.finding import Verdict
from p2p_copy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.cli.options.client import AccessArguments
    from p2p_copy.cli.ui.json_lines import JsonLines
    from p2p_copy.doctor.finding import Check, Finding
    from p2p_copy.errors import P2PCopyError
    from p2p_copy.options import RelayAccess

_COLOURS: Final = {Verdict.GOOD: 32, Verdict.WARNING: 33, Verdict.WRONG: 31, Verdict.NOT_TRIED: 2}
"""How each verdict is shown at a terminal (SGR): green, yellow, red, faint."""

_VERDICT: Final = 11
_CHECK: Final = 13
"""Columns of the verdict and of the check's name."""


def doctor(
    servers: Sequence[str],
    access: AccessArguments,
    *,
    out: str,
    idle: float,
    json: bool,
    state_dir: str | None,
) -> int:
    """Examine the way to a relay and this machine; return the exit code of the first thing that is wrong, or 0.

    Raises:
        UsageError: an option other than the relay has the wrong form.

    """
    terminal = Terminal.standard(quiet=json)
    subject = Subject(
        _relays(servers, access, terminal), idle, out, saved_transfers.directory(state_dir, terminal)
    )
    findings: list[Finding] = []
    lines = _started(terminal) if json else None

    def report(finding: Finding) -> None:
        findings.append(finding)
        if lines is None:
            _show(finding, terminal)
        else:
            _write(finding, lines)

    def begin(check: Check) -> None:
        terminal.live(f"Checking: {label(check)} ...")

    try:
        run(lambda: examine(subject, report, begin))
    finally:
        terminal.wipe()
    first = next((finding for finding in findings if finding.error is not None), None)
    code = 0 if first is None or first.error is None else first.error.exit_code
    if lines is None:
        relays = {finding.relay for finding in findings if finding.relay}
        terminal.say(_summary(first, code, several=len(relays) > 1))
    else:
        from p2p_copy.cli.ui.json_lines import Diagnosis

        verdicts = [finding.verdict for finding in findings]
        good, warnings, bad, left_out = map(verdicts.count, Verdict)
        lines.write(Diagnosis(good, warnings, bad, left_out, code))
    terminal.finish()
    return code


def _relays(
    servers: Sequence[str], access: AccessArguments, terminal: Terminal
) -> Sequence[RelayAccess] | P2PCopyError:
    """Return how to reach each relay; without one the error that says so, since this machine can be examined."""
    try:
        relays = inputs.relays_of(None, servers)
    except UsageError as error:
        if servers:
            raise
        inputs.access_token(access.token_file)  # a wrong one is an error all the same
        return error
    return inputs.access_to(relays, access, terminal)


def _show(finding: Finding, terminal: Terminal) -> None:
    """Write one line, or at a terminal as many as it takes."""
    verdict = finding.verdict.value.replace("_", " ")
    name = label(finding.check)
    sentence = with_options(one_line(finding.sentence))
    columns = terminal.result_columns
    if columns is None:
        terminal.result(f"{verdict:{_VERDICT}}{name:{_CHECK}}{sentence}")
        return
    margin = " " * (_VERDICT + _CHECK)
    first, *rest = paragraph(sentence, max(columns - 1, 2 * len(margin)), margin, margin) or [margin]
    terminal.result(
        "\n".join((f"{_coloured(verdict, finding.verdict)}{name:{_CHECK}}{first.strip()}", *rest))
    )


def _coloured(text: str, verdict: Verdict) -> str:
    padded = f"{text:{_VERDICT}}"
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or sys.platform == "win32":
        return padded
    return f"\x1b[{_COLOURS[verdict]}m{text}\x1b[0m{padded[len(text) :]}"


def _summary(first: Finding | None, code: int, *, several: bool) -> str:
    if first is None:
        return "Nothing is wrong."
    where = f" of {first.relay}" if several and first.relay else ""
    return f"The first thing that is wrong: {label(first.check)}{where} (exit code {code})."


def _started(terminal: Terminal) -> JsonLines:
    from p2p_copy.cli.ui.json_lines import JsonLines, Started
    from p2p_copy.version import FULL_NAME

    lines = JsonLines(terminal)
    lines.write(Started(program=FULL_NAME, command="doctor"))
    return lines


def _write(finding: Finding, lines: JsonLines) -> None:
    from p2p_copy.cli.ui.json_lines import Checked, name_of

    error = finding.error
    lines.write(
        Checked(
            check=finding.check.value,
            verdict=finding.verdict.value,
            sentence=finding.sentence,
            error=None if error is None else name_of(error),
            exit_code=None if error is None else error.exit_code,
            seconds=None if finding.seconds is None else round(finding.seconds, 6),
            rate=finding.rate,
            relay=finding.relay or None,
        )
    )
