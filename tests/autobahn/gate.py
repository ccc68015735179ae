"""Lets Autobahn's test suite loose on our WebSocket, and fails if it finds anything.

`nox -s autobahn` runs it; by hand it is `python -m tests.autobahn.gate WSTEST REPORTS`, with the suite's program and
a directory. For each case the suite says how we behaved and how the connection closed. Both must be good, in every
case but those that are excluded here, each for a limit of ours that is meant.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import trio

from p2p_copy.transport import limits
from tests.autobahn.echo import echo
from tests.support.links import serving

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

AGENT: Final = "p2p-copy"

GOOD: Final = frozenset({"OK", "NON-STRICT", "INFORMATIONAL"})
"""As the RFC demands; within the RFC, though the suite would like it better otherwise; nothing is demanded."""

_PIECES: Final = {
    # Text in 9.3, binary in 9.4, each of 4 MiB. The suite lets an empty piece follow where the last one is full.
    f"9.{kind}.{number}": 4**11 // size + 1
    for kind in (3, 4)
    for number, size in enumerate((4**3, 4**4, 4**5, 4**6, 4**7, 4**8, 4**9, 4**10), 1)
}

EXCLUDED: Final = dict.fromkeys(
    ("12.*", "13.*"), "permessage-deflate is not offered: what is encrypted does not shrink"
) | {
    case: f"more than {limits.MAX_FRAGMENTS} pieces of a message are refused (1009); here are {pieces:,}"
    for case, pieces in _PIECES.items()
    if pieces > limits.MAX_FRAGMENTS
}
"""Cases that are not run, and why."""

CASES: Final = 517 - 216 - len(EXCLUDED.keys() & _PIECES)
"""Of the suite's version in requirements.txt: all, less those of 12.* and 13.*. Fewer are a run that broke off."""

PATIENCE: Final = 900
"""Seconds for the whole run, which takes half a minute."""


def main(wstest: str, reports: Path) -> None:
    """Run the suite, print what it found, and exit with a table of what is bad."""
    reports.mkdir(parents=True, exist_ok=True)
    index, log = reports / "index.json", reports / "wstest.log"
    index.unlink(missing_ok=True)
    with log.open("wb") as output:
        trio.run(fuzz, wstest, reports, output)
    if not index.exists():
        sys.exit(f"The suite made no report. It said:\n{log.read_text(errors='replace')}")
    cases: dict[str, dict[str, Any]] = json.loads(index.read_text())[AGENT]
    counts = Counter(case["behavior"] for case in cases.values())
    listed = ", ".join(f"{count} {behavior}" for behavior, count in counts.most_common())
    sys.stdout.write(f"{len(cases)} cases: {listed}\nexcluded:\n")
    sys.stdout.writelines(f"  {pattern:<6} {reason}\n" for pattern, reason in EXCLUDED.items())
    bad = [name for name, case in cases.items() if not {case["behavior"], case["behaviorClose"]} <= GOOD]
    if bad:
        details = (json.loads((reports / cases[name]["reportfile"]).read_text()) for name in bad)
        sys.exit("\n".join(table(details)))
    if len(cases) != CASES:
        sys.exit(f"There should be {CASES} cases. Did the suite break off, or is it another version?")


async def fuzz(wstest: str, reports: Path, output: BinaryIO) -> None:
    """Serve the suite until it has ended."""
    with trio.fail_after(PATIENCE):
        async with serving(echo) as address:
            spec = plan(reports, str(address))
            command = [wstest, "--mode", "fuzzingclient", "--spec", str(spec)]
            await trio.run_process(command, stdout=output, stderr=subprocess.STDOUT, cwd=reports, check=False)


def plan(reports: Path, url: str) -> Path:
    """Write down what the suite is to do; return where."""
    spec = reports / "spec.json"
    content = {
        "options": {"failByDrop": False},  # say goodbye properly after a mistake of ours, too
        "outdir": str(reports),
        "servers": [{"agent": AGENT, "url": url}],
        "cases": ["*"],
        "exclude-cases": list(EXCLUDED),
        "exclude-agent-cases": {},
    }
    spec.write_text(json.dumps(content))
    return spec


def table(details: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each bad case, from the suite's own report of it."""
    line = "{id:<8}{behavior:<16}{behaviorClose:<16}{remoteCloseCode!s:<6}{result} {resultClose}"
    head = {"behavior": "behaviour", "behaviorClose": "close", "remoteCloseCode": "code", "result": "why"}
    yield line.format(id="case", resultClose="", **head).rstrip()
    for detail in sorted(details, key=lambda one: [int(part) for part in one["id"].split(".")]):
        yield line.format(**detail)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve())
