from __future__ import annotations

import os

import pytest
from hypothesis import given, strategies as st

from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.digest import FileDigest, StreamDigest
from p2p_copy.transfer import limits
from p2p_copy.transfer.stream.window import Window

PIECE = limits.STREAM_PIECE
sizes = st.sampled_from([0, 1, 5, PIECE - 1, PIECE, PIECE + 1])


@given(
    st.lists(sizes, max_size=8), st.lists(st.floats(0, 1), max_size=5), st.sampled_from([1000, PIECE, 10**6])
)
def test_what_is_put_in_is_seen_and_released_once_and_in_order(
    counts: list[int], places: list[float], most: int
) -> None:
    stream = os.urandom(sum(counts))
    window = Window()
    for count in counts:
        window.put(stream[window.end : window.end + count])
    assert (window.start, window.end, window.size) == (0, len(stream), len(stream))
    released = b""
    for place in [*sorted(places), 1.0]:
        to = int(place * len(stream))
        seen = list(window.look(to, most))
        assert b"".join(seen) == stream[to:]
        assert all(0 < len(piece) <= most for piece in seen)
        released += b"".join(window.release(to))
        assert released == stream[:to]
        assert (window.start, window.size) == (to, len(stream) - to)
    assert (window.size, window.pieces) == (0, 0)


def test_single_bytes_take_no_more_memory_than_long_pieces() -> None:
    window = Window()
    for _ in range(PIECE + 1):
        window.put(b"x")
    assert window.pieces == 2


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 199, 200, 1000])
@pytest.mark.parametrize("step", [1, 30, 100, 250])
def test_a_stream_has_the_digest_of_the_file_that_it_makes_wherever_it_ends(
    monkeypatch: pytest.MonkeyPatch, size: int, step: int
) -> None:
    monkeypatch.setattr(protocol_limits, "SEGMENT", 100)
    data = os.urandom(size)
    whole, stream = FileDigest(size), StreamDigest()
    whole.update(data)
    for at in range(0, size, step):
        stream.update(data[at : at + step])
        stream.digest()
    copy = stream.copy()
    assert copy.digest() == stream.digest() == whole.digest()
    copy.update(b"more")
    assert copy.digest() != stream.digest()
    assert stream.size == size
