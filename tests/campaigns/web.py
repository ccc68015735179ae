"""Large files through the page in Chromium and Firefox, both ways, over wss: how fast, and in how much memory.

`python -m tests.campaigns.web [--size SIZE]... [--browser NAME]... [--way WAY]...` runs relay, commands and browsers as
processes on this machine. Each transfer is beside one from command to command in the same run, and what arrives is
compared with what was sent. A table has the rates and the peak of the memory that the page's own process took, and of
all others of the browser. It fails if anything differs, or if that process grew by more than `BOUND` while the page was
used: that must not depend on the size of a file. Three copies must fit into the temporary directory.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from playwright.sync_api import sync_playwright

from p2p_copy.units import amount, parse_size
from tests.bench.data import GIB, KIB, MIB, random_file, workspace
from tests.bench.markdown import Machine, number, say, table
from tests.bench.proc import children, memory, peak
from tests.support.certificates import Certificates
from tests.support.processes import receiver, relay, sender
from tests.web import firefox
from tests.web.conftest import BROWSER, a_world, ask, download, until

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES: Final = (1 * GIB, 4 * GIB)

BOUND: Final = 400 * MIB
"""Bytes by which the process of a page may grow. At most 16 MiB of records are under way to a page, and the browser has
several copies of some; the rest is what its allocators keep."""

HOUR: Final = 3600
"""Seconds after which a transfer of some GiB has failed."""

BROWSERS: Final = {"chromium": BROWSER, "firefox": firefox.EXECUTABLE}

PAGES: Final = ("--type=renderer", "isForBrowser")
"""What the command line of a process with pages has, in Chromium and in Firefox."""


@dataclass(frozen=True)
class Outcome:
    """What one transfer took.

    Attributes:
        rate: bytes per second, from the start of the side that came last until both had ended.
        grown: bytes by which the process of the page grew at most.
        page: the most that this process had in memory.
        others: the sum of the most that each of the browser's other processes had.

    """

    rate: float
    grown: int = 0
    page: int = 0
    others: int = 0


@contextmanager
def launched(name: str) -> Iterator[Any]:
    """Run a browser of its own, so that its peaks are those of one transfer."""
    if name == "firefox":
        with firefox.firefox() as started:
            yield started
        return
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        yield OnDisk(playwright, profile)


class OnDisk:
    """A Chromium of which the one context is a person's: what those of Playwright store is in memory."""

    def __init__(self, playwright: Any, profile: str) -> None:
        self._playwright = playwright
        self._profile = profile
        self.contexts: list[Any] = []

    def new_context(self, **options: Any) -> Any:
        """Start it."""
        words = {"executable_path": BROWSER, "args": ["--no-sandbox"], **options}
        context = self._playwright.chromium.launch_persistent_context(self._profile, **words)
        self.contexts.append(context)
        return context


class Processes:
    """The processes of the one browser that runs now."""

    def __init__(self) -> None:
        self._start = {pid: memory(pid).resident for pid in _browsers() if _has_pages(pid)}

    def outcome(self, rate: float) -> Outcome:
        """Return what they took until now."""
        peaks = {pid: peak(pid) for pid in _browsers()}
        page = max(self._start, key=lambda pid: peaks.get(pid, 0) - self._start[pid])
        others = sum(peaks.values()) - peaks[page]
        return Outcome(rate, (peaks[page] - self._start[page]) * KIB, peaks[page] * KIB, others * KIB)


def _browsers() -> list[int]:
    return [pid for pid in _below(os.getpid()) if _program(pid).startswith(("chrom", "firefox"))]


def _below(pid: int) -> Iterator[int]:
    """Yield the processes that a process has started, and those that they have started."""
    for child in children(pid):
        yield child
        yield from _below(child)


def _program(pid: int) -> str:
    with suppress(OSError):  # it has ended meanwhile
        return Path(f"/proc/{pid}/exe").readlink().name
    return ""


def _has_pages(pid: int) -> bool:
    return any(word in Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace") for word in PAGES)


def receive_in(name: str, source: Path, place: Path, certificates: Certificates) -> Outcome:
    """Send a file by the command to the page."""
    with launched(name) as browser, a_world(browser, certificates) as world:
        processes = Processes()
        sending = sender(world.relay, source, options=("--quiet", *world.trust))
        ask(world.page)
        began = time.monotonic()
        world.page.click("#accept")
        ended_as(world.page, "Received")
        outcome = processes.outcome(source.stat().st_size / (time.monotonic() - began))
        ended, _, errors = sending.wait(HOUR)
        assert ended == 0, errors
        world.page.set_default_timeout(HOUR * 1000)
        compare(source, download(world.page, place))
        return outcome


def send_from(name: str, source: Path, place: Path, certificates: Certificates) -> Outcome:
    """Send a file from the page to the command."""
    with launched(name) as browser, a_world(browser, certificates) as world:
        processes = Processes()
        world.page.set_input_files("#files", [str(source)])
        world.page.click("#send")
        world.page.wait_for_selector("#qr svg")
        began = time.monotonic()
        options = ("--yes", "--quiet", *world.trust)
        receiving = receiver(world.relay, place, code=world.page.inner_text("#code-shown"), options=options)
        ended_as(world.page, "Sent")
        outcome = processes.outcome(source.stat().st_size / (time.monotonic() - began))
        ended, _, errors = receiving.wait(HOUR)
        assert ended == 0, errors
        compare(source, place / source.name)
        return outcome


def ended_as(page: Any, name: str) -> None:
    """Wait until the page shows how the transfer has ended."""
    until(page, "() => !document.getElementById('again').hidden", within=HOUR)
    assert page.inner_text("#status") == name, page.inner_text("main")


def commands(source: Path, place: Path, certificates: Certificates) -> float:
    """Return the rate from one command to another."""
    with relay(*certificates.options) as (address, _):
        trust = ("--ca-file", certificates.authority, "--quiet")
        sending = sender(address, source, options=trust)
        began = time.monotonic()
        receiving = receiver(address, place, options=("--yes", *trust))
        for running in (receiving, sending):
            ended, _, errors = running.wait(HOUR)
            assert ended == 0, errors
        rate = source.stat().st_size / (time.monotonic() - began)
        compare(source, place / source.name)
        return rate


def compare(source: Path, copy: Path) -> None:
    """Compare what arrived with what was sent, and remove it."""
    with source.open("rb") as one, copy.open("rb") as other:
        same = hashlib.file_digest(one, "sha256").digest() == hashlib.file_digest(other, "sha256").digest()
    copy.unlink()
    assert same, "what arrived differs from what was sent"


WAYS: Final = {"receives": receive_in, "sends": send_from}

HEADS: Final = (
    "browser",
    "size",
    "MB/s",
    "commands, MB/s",
    "ratio",
    "page grew, MiB",
    "page, MiB",
    "others, MiB",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--size", action="append", type=parse_size, help="may be repeated; 1 and 4 GiB if not given"
    )
    parser.add_argument("--browser", action="append", choices=list(BROWSERS), help="may be repeated")
    parser.add_argument(
        "--way", action="append", choices=list(WAYS), help="what the page does; may be repeated"
    )
    words = parser.parse_args()
    machine = Machine()
    found = [name for name in words.browser or BROWSERS if BROWSERS[name]]
    rows, failures = [], []
    with workspace(max(words.size or SIZES)) as folder, tempfile.TemporaryDirectory() as disk:
        os.environ["P2P_COPY_STATE_DIR"] = str(folder / "state")
        certificates = Certificates(folder)
        for size in words.size or SIZES:
            source = random_file(folder / "large file", size)
            beside = commands(source, Path(disk), certificates)
            for name in found:
                for way in words.way or WAYS:
                    outcome = WAYS[way](name, source, Path(disk), certificates)
                    rows.append(_row(f"{name} {way}", size, beside, outcome))
                    say(" | ".join(rows[-1]), to_people=True)
                    if outcome.grown > BOUND:
                        failures.append(f"- FAILED: {name} {way} {amount(size)}: the page grew too much")
    say(table(HEADS, rows))
    say("\n" + ("\n".join(failures) or "All is well."))
    say(f"\n{machine.about(('chromium', 'firefox-esr'))}")
    return 1 if failures or not rows else 0


def _row(what: str, size: int, beside: float, outcome: Outcome) -> tuple[str, ...]:
    memory = (number(value / MIB) for value in (outcome.grown, outcome.page, outcome.others))
    rates = (number(outcome.rate / 1e6), number(beside / 1e6), number(outcome.rate / beside))
    return what, amount(size), *rates, *memory


if __name__ == "__main__":
    sys.exit(main())
