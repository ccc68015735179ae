"""Transfers that meet accidents: programs that are killed, links that are down, a relay that moves.

`python -m tests.campaigns.chaos [--kills N] [--seed S] [--only large|tree] [--minutes M] [--rounds N] [--size BYTES]
[--files N] [--seconds S] [--links N] [--program PROGRAM]` copies a large file and a tree of many small ones in turn,
round after round, between real processes in networks of their own, until N accidents have met them. A process that is
ended is started again with the same command, and a round must come to its end with all that was promised: each byte,
mode and time, no leftovers, and little that was sent twice. It fails if one does not, names the seed, and keeps the
logs.

`--resume [BYTES]` and `--many [FILES]` measure instead how soon a large file goes on when both sides were killed at
90 %, and in how much memory a tree of a million files, and a tenth of it.

Without root there are no networks: then no link goes down, the relay stays where it is, and it is the relay that
counts what crosses.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from p2p_copy.units import parse_size
from tests.bench.data import GIB, KIB, MIB, workspace
from tests.bench.markdown import Machine, median, number, say, table
from tests.bench.runs import end_in_order
from tests.campaigns.chaos_campaign import Campaign
from tests.campaigns.chaos_data import MEDIUM, MEDIUM_ONE_OF, SMALL
from tests.campaigns.chaos_network import Loopback, Networks, NoNetworks, networks
from tests.campaigns.chaos_plan import KINDS, LARGE, TREE, WITH_NETWORK, WORKS
from tests.campaigns.chaos_proofs import Proofs, report as report_of_proofs, room as room_of_proofs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.campaigns.chaos_plan import Kind
    from tests.campaigns.chaos_round import Outcome

STOPPED = 130
"""Exit code after Ctrl-C."""

BLOCK = 8 * KIB
"""Bytes that one more file takes in memory besides its contents: a page that is not full, and its name."""

EXPLAINED = """\
Bytes are those that the sender's machine sent beyond the data. Seconds lost are those beyond what the data takes at the
relay's rate; in part they are the accidents themselves, which last as long as they last."""


def report(campaign: Campaign) -> str:
    """Return the report, in Markdown."""
    done = [outcome for outcome in campaign.outcomes if outcome.seconds]
    verdict = [
        f"- FAILED, seed {outcome.plan.seed} ({outcome.plan.work}): {why}"
        for outcome in done
        for why in outcome.wrong
    ]
    if campaign.stopped:
        verdict.append("- Stopped before the end.")
    if not verdict:
        verdict.append("All is well.")
    elif any(outcome.wrong for outcome in done):
        verdict.append(f"\nThe logs of rounds that failed are in {campaign.logs}.")
    good = [outcome for outcome in done if not outcome.wrong]
    return "\n\n".join(
        [
            f"# Chaos: {campaign.accidents} accidents, from seed {campaign.words.seed}",
            "\n".join(verdict),
            "## Rounds that went well",
            _rounds(good),
            EXPLAINED,
            "## Their accidents",
            _accidents(good),
            f"{sum(outcome.too_late for outcome in done)} came too late to happen.",
        ]
    )


def _rounds(outcomes: Sequence[Outcome]) -> str:
    rows = []
    for work in WORKS:
        if some := [outcome for outcome in outcomes if outcome.plan.work == work]:
            overheads = [outcome.overhead for outcome in some]
            lost = [outcome.lost for outcome in some]
            hits = sum(len(outcome.happened) for outcome in some)
            rows.append(
                [
                    f"{work}, {some[0].data / MIB:,.0f} MiB",
                    f"{len(some)}",
                    f"{hits}",
                    f"{statistics.median(overheads):+.1%}",
                    f"{max(overheads):+.1%}",
                    median([outcome.seconds for outcome in some]),
                    median(lost),
                    number(sum(lost) / hits) if hits else "-",
                ]
            )
    if not rows:
        return "None."
    heads = (
        "work",
        "rounds",
        "accidents",
        "bytes",
        "worst",
        "s",
        "s lost",
        "s lost for each accident",
    )
    return table(heads, rows)


def _accidents(outcomes: Sequence[Outcome]) -> str:
    found: dict[Kind, list[float]] = defaultdict(list)
    for outcome in outcomes:
        for each in outcome.happened:
            found[each.kind].append(each.recovery)
    rows = [[f"{kind}", f"{len(found[kind])}", median(found[kind]) if found[kind] else "-"] for kind in KINDS]
    return table(("accident", "count", "s until bytes arrived again"), rows)


def room(words: argparse.Namespace) -> int:
    """Return the bytes that the sources and one copy take."""
    small = words.files * (SMALL // 2 + BLOCK) + words.files // MEDIUM_ONE_OF * sum(MEDIUM) // 2
    sizes: dict[str, int] = {LARGE: words.size, TREE: small}
    wanted = [sizes[work] for work in ([words.only] if words.only else WORKS)]
    return sum(wanted) + max(wanted)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    ours = Path(sys.executable).with_name("p2p-copy")
    parser.add_argument(
        "--kills", type=int, default=200, help="accidents in all; 0 is one round of each work"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    parser.add_argument("--only", choices=WORKS)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which no round begins")
    parser.add_argument("--rounds", type=int, default=10**6, help="at most")
    parser.add_argument("--size", type=parse_size, default=5 * GIB, help="of the large file, like 500M")
    parser.add_argument("--files", type=int, default=50_000, help="in the tree")
    parser.add_argument(
        "--seconds", type=float, default=30, help="of a round without accidents, some more or less"
    )
    parser.add_argument("--links", type=int, help="links of each transfer, instead of what clients choose")
    parser.add_argument("--program", default=str(ours), help="p2p-copy")
    parser.add_argument(
        "--resume",
        type=parse_size,
        nargs="?",
        const=20 * GIB,
        metavar="BYTES",
        help="instead: how soon a file of that size goes on at 90 %%",
    )
    parser.add_argument(
        "--many",
        type=int,
        nargs="?",
        const=1_000_000,
        metavar="FILES",
        help="instead: the memory in which so many files with long paths go on half way",
    )
    return parser.parse_args()


@contextmanager
def place_of_all() -> Iterator[Networks | Loopback]:
    """Yield networks of our own, if they can be made here."""
    with ExitStack() as stack:
        try:
            place: Networks | Loopback = stack.enter_context(networks())
        except NoNetworks as why:
            place = Loopback()
            left_out = ", ".join(f"{kind}" for kind in KINDS if kind.action in WITH_NETWORK)
            say(f"No networks of our own: {why}. Left out: {left_out}.", to_people=True)
        yield place


def main() -> int:
    words, machine = arguments(), Machine()
    end_in_order()
    began = time.monotonic()
    logs = Path(tempfile.mkdtemp(prefix="p2p-copy-chaos-"))
    campaign: Campaign
    if words.resume or words.many:
        with workspace(room_of_proofs(words)) as folder:
            campaign = proofs = Proofs(words, Loopback(), folder, logs)
            trio.run(campaign.run)
        say(report_of_proofs(proofs))
    else:
        with place_of_all() as place, workspace(room(words)) as folder:
            campaign = Campaign(words, place, folder, logs)
            trio.run(campaign.run)
        say(report(campaign))
    say(f"\n{(time.monotonic() - began) / 60:.1f} minutes. {machine.about()}")
    if any(outcome.wrong for outcome in campaign.outcomes):
        return 1
    shutil.rmtree(logs)
    return STOPPED if campaign.stopped else 0


if __name__ == "__main__":
    sys.exit(main())
