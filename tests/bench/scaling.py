"""Measures what docs/scaling.md says: `python -m tests.bench.scaling [--rounds N]` writes docs/figures/scaling.json.

Each point is one relay, loaded by `relay-load`: how much was done, and what the relay took for it, in processor seconds
and memory of all its processes together. Processor seconds depend little on what else runs on the machine; times do, so
each point has how many processors other programs took. Of several rounds that one counts in which they
took least.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docs.figures.scaling import FILE, Point
from p2p_copy.load.plan import Plan
from p2p_copy.relay.system_limits import raise_descriptor_limit
from p2p_copy.transport.limits import PACE_PIECE
from p2p_copy.units import parse_rate, parse_size
from tests.bench import proc
from tests.bench.guests import HOST
from tests.bench.markdown import say
from tests.bench.waiting import LEAVING, wait_until_open
from tests.contrib.programs import free_port
from tests.support.certificates import Certificates
from tests.support.processes import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOOK = 0.5
"""Seconds between two looks at the relay's memory."""

ALLOWED = ("--allow-load-test", "--log-level", "error")

SETTLE = 1.0
"""Seconds that a relay has before it is looked at for the first time."""

TEN = ("--ramp", "10s", "--duration", "5s")
FAST = ("--size", "256M", "--rate", "none", "--ramp", "1s", "--duration", "12s", "--processes", "2")

TINY = ("--size", "1K", "--rate", "none")
ALL_WAIT = ("--waiters", "2000", "--ramp", "15s", "--duration", "15s")
MANY = (
    "--waiters",
    "0",
    "--pairings",
    "100",
    "--size",
    "1G",
    "--rate",
    "256K",
    "--ramp",
    "5s",
    "--duration",
    "20s",
)

POINTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "500 wait": (("--waiters", "500", "--pairings", "0", *TEN), ()),
    "1000 wait": (("--waiters", "1000", "--pairings", "0", *TEN), ()),
    "2000 wait": (("--waiters", "2000", "--pairings", "0", *TEN), ()),
    "1 fast": (("--waiters", "0", "--pairings", "1", *FAST), ()),
    "4 fast": (("--waiters", "0", "--pairings", "4", *FAST), ()),
    "8 fast": (("--waiters", "0", "--pairings", "8", *FAST), ()),
    "16 fast": (("--waiters", "0", "--pairings", "16", *FAST), ()),
    "8 fast, 2 workers": (("--waiters", "0", "--pairings", "8", *FAST), ("--workers", "2")),
    "4 fast, ws": (("--waiters", "0", "--pairings", "4", *FAST), ("--no-tls",)),
    "short": (("--waiters", "0", "--pairings", "4", *TINY, "--ramp", "1s", "--duration", "10s"), ()),
    "100 slow": (MANY, ()),
    "2000 wait, 50 move": ((*ALL_WAIT, "--pairings", "50", "--size", "1G", "--rate", "1M"), ()),
    "2000 wait, short": ((*ALL_WAIT, "--pairings", "2", *TINY), ()),
    "2000 wait, short, 2 workers": ((*ALL_WAIT, "--pairings", "2", *TINY), ("--workers", "2")),
}
"""What is measured: the words of `relay-load`, and further ones of the relay."""


@contextmanager
def relay(certificates: Certificates, words: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Run a relay that may be loaded; yield its process and address."""
    port = free_port()
    tls = () if "--no-tls" in words else certificates.options
    process = subprocess.Popen(
        [sys.executable, "-m", "p2p_copy", "run-relay-server", f"{HOST}:{port}", *tls, *words, *ALLOWED],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(PYTHONWARNINGS="default"),
    )
    try:
        wait_until_open(process, port)
        time.sleep(SETTLE)
        yield process.pid, f"{'wss' if tls else 'ws'}://{HOST}:{port}"
        assert process.poll() is None, "the relay has ended"
    finally:
        for number in (signal.SIGTERM, signal.SIGTERM):
            with suppress(ProcessLookupError):
                process.send_signal(number)
        process.wait(LEAVING)


def measured(certificates: Certificates, load: Sequence[str], words: Sequence[str]) -> Point:
    """Measure one point."""
    with relay(certificates, words) as (pid, url):
        family = (pid, *proc.children(pid))
        empty = sum(proc.memory(one).resident for one in family)
        used = sum(map(proc.processor_seconds, family))
        others, began = _others(family), time.monotonic()
        load_used = -proc.processor_seconds(os.getpid(), children=True)
        trust = ("--ca-file", certificates.authority) if url.startswith("wss:") else ()
        loading = subprocess.Popen(
            [sys.executable, "-m", "p2p_copy", "relay-load", url, *load, *trust, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(PYTHONWARNINGS="default"),
        )
        full = empty
        while loading.poll() is None:
            time.sleep(LOOK)
            full = max(full, sum(proc.memory(one).resident for one in family))
        out, _ = loading.communicate()
        seconds = time.monotonic() - began
        report: dict[str, Any] = json.loads(out.splitlines()[-1])
        assert report["event"] == "load_report", out
        load_used += proc.processor_seconds(os.getpid(), children=True)
        return Point(
            tls=url.startswith("wss:"),
            workers=int(dict(zip(words[::2], words[1::2], strict=False)).get("--workers", 0)),
            waiters=report["waiters"],
            pairings=report["pairings"],
            connections=report["connect"]["count"],
            paired=report["pair"]["count"] if report["pair"] else 0,
            received=report["received"],
            piece=_piece(load),
            seconds=round(seconds, 2),
            processor=round(sum(map(proc.processor_seconds, family)) - used, 2),
            memory=(full - empty) * 1024,
            rate=report["rate"],
            pair_p50=report["pair"]["p50"] if report["pair"] else None,
            pair_p99=report["pair"]["p99"] if report["pair"] else None,
            round_trip_p50=report["round_trip"]["p50"],
            round_trip_p99=report["round_trip"]["p99"],
            failures=sum(one["count"] for one in report["failures"]),
            generator=report["processor"],
            others=round(max(_others(family) - others - load_used, 0) / seconds, 2),
        )


def _piece(load: Sequence[str]) -> int:
    """Return the bytes that come at once with this load: a message, or what a sender's pacer lets pass."""
    options = dict(zip(load[::2], load[1::2], strict=True))
    word = options.get("--rate", "1M")
    rate = None if word == "none" else parse_rate(word)
    size = parse_size(options.get("--size", "10M"))
    message = min(Plan(0, 0, size, rate, 0, 0).message, size)
    return message if rate is None else min(message, int(rate * PACE_PIECE))


def _others(family: Sequence[int]) -> float:
    """Return the processor seconds of all programs but the relay's until now."""
    return proc.all_processor_seconds() - sum(map(proc.processor_seconds, family))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", action="append", help="measure this point alone; may be repeated")
    words = parser.parse_args()
    raise_descriptor_limit()
    found: dict[str, list[Point]] = {}
    with tempfile.TemporaryDirectory() as folder:
        certificates = Certificates(Path(folder))
        for number in range(words.rounds):
            for name, (load, of_relay) in POINTS.items():
                if words.only is None or name in words.only:
                    point = measured(certificates, load, of_relay)
                    say(f"{number + 1}. {name}: {point}", to_people=True)
                    found.setdefault(name, []).append(point)
    quietest = {name: min(points, key=lambda one: one.others)._asdict() for name, points in found.items()}
    kept = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}
    FILE.write_text(json.dumps(kept | quietest, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
