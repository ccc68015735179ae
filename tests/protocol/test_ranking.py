"""Both sides try relays in the same order, which a room and the relays' addresses alone decide."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path

from hypothesis import given, strategies as st

from p2p_copy.protocol import keys
from p2p_copy.protocol.ranking import ranked
from p2p_copy.transport.address import parse_address

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"
ROOM = keys.room_id("lab")


def test_the_order_is_that_of_the_published_vectors() -> None:
    table = PROTOCOL.read_text(encoding="utf-8").split("<!-- table: ranking -->")[1].split("<!-- end")[0]
    rows = re.findall(r"^\| `(.+)` \| `(.+)` \| `([0-9a-f]{64})` \|$", table, re.MULTILINE)
    assert len(rows) == 3
    for written, address, rank in rows:
        assert parse_address(written).canonical == address
        assert hashlib.sha256(f"p2p-copy/1 relay{ROOM}{address}".encode()).hexdigest() == rank
    in_order = [address for _, address, _ in sorted(rows, key=lambda row: int(row[2], 16))]
    assert ranked(ROOM, [address for _, address, _ in reversed(rows)]) == in_order
    assert ranked(keys.room_id("lab7"), in_order) == in_order[::-1], "another room has another order"


@given(addresses=st.lists(st.text(), unique=True), room=st.text())
def test_the_order_of_the_list_does_not_matter_and_a_relay_that_is_gone_changes_no_other(
    addresses: list[str], room: str
) -> None:
    in_order = ranked(room, addresses)
    assert sorted(in_order) == sorted(addresses)
    assert ranked(room, reversed(addresses)) == in_order
    for gone in addresses:
        rest = [each for each in addresses if each != gone]
        assert ranked(room, rest) == [each for each in in_order if each != gone]


def test_rooms_are_spread_evenly() -> None:
    addresses = [f"wss://relay{number}.example:443" for number in range(4)]
    best = Counter(ranked(keys.room_id(f"room {number}"), addresses)[0] for number in range(4000))
    assert all(900 < count < 1100 for count in best.values()), best
