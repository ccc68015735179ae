"""A journal takes little memory and time, however many entries it has."""

from __future__ import annotations

import time

import pytest

from p2p_copy.files import limits
from p2p_copy.files.state.journal import Begun, key_of
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.units import MIB
from tests.files.state.journals import DONE, KEY, LEAVES, LINUX, opened, run_child

BOUNDED = """
import sys
from p2p_copy.files.state.journal import Done, Journal, key_of

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def done(number):
    return Done(b"identity" * 5, key_of(f"digest {number}") * 2, "", False)

journal = Journal(sys.argv[1])
journal.set_done(key_of("first"), done(0))
journal.commit()
before = resident()
for number in range(200_000):
    journal.set_done(key_of(f"file {number}"), done(number))
    if number % 5000 == 4999:
        journal.commit()
journal.close()
journal = Journal(sys.argv[1])
assert all(journal.done(key_of(f"file {number}")) == done(number) for number in range(0, 200_000, 8))
assert journal.done(key_of("file 200000")) is None
print(resident() - before)
journal.remove()
"""


@pytest.mark.once
@LINUX
def test_a_large_journal_takes_little_memory(path: str) -> None:
    grown = int(run_child(BOUNDED, path))
    assert grown < 2 * limits.JOURNAL_CACHE + 8 * MIB


def test_setting_and_committing_cost_little(path: str) -> None:
    done = [(key_of(f"file {number}"), DONE) for number in range(20_000)]
    with opened(path) as journal:
        start = time.process_time()
        for key, value in done[:10_000]:
            journal.set_done(key, value)
        journal.commit()
        for key, value in done[10_000:]:
            journal.set_done(key, value)
        journal.commit()
        took = time.process_time() - start
    assert took < 1.0, "some 0.1 s; this is for machines that are busy"


def test_one_more_leaf_does_not_rewrite_all(path: str) -> None:
    many = 65_536
    with opened(path) as journal:
        journal.begin(KEY, Begun(b"identity", "part", b"l" * protocol_limits.DIGEST * many, 0))
        journal.commit()
        assert journal._db is not None
        before = journal._db.total_changes
        journal.add_leaves(KEY, LEAVES[0])
        journal.commit()
        assert journal._db.total_changes - before < 10
    with opened(path) as journal:
        begun = journal.begun(KEY)
        assert begun is not None
        assert len(begun.leaves) == protocol_limits.DIGEST * (many + 1)
