from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given, strategies as st

from p2p_copy.protocol import limits
from p2p_copy.protocol.digest import FileDigest, RootDigest
from p2p_copy.protocol.messages import Entry, Kind
from p2p_copy.protocol.wire import encode_entry


def by_the_book(data: bytes) -> bytes:
    leaves = b"".join(
        blake3(data[at : at + limits.SEGMENT]).digest() for at in range(0, len(data), limits.SEGMENT)
    )
    return blake3(len(data).to_bytes(8, "big") + leaves, derive_key_context="p2p-copy/1 file digest").digest()


def digest_of(*pieces: bytes) -> bytes:
    digest = FileDigest(sum(map(len, pieces)))
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_pieces_do_not_matter(pieces: list[bytes]) -> None:
    assert digest_of(*pieces) == by_the_book(b"".join(pieces))


def test_segments_are_leaves_at_every_edge() -> None:
    for size in (0, 1, limits.SEGMENT - 1, limits.SEGMENT, limits.SEGMENT + 1, 2 * limits.SEGMENT):
        data = bytes(size)
        assert digest_of(data) == by_the_book(data)
        assert digest_of(data[:1000], data[1000:]) == by_the_book(data)


@pytest.mark.parametrize("before", [0, 1, limits.SEGMENT])
@pytest.mark.parametrize("hole", [1, 100_000, limits.SEGMENT - 1, limits.SEGMENT, 2 * limits.SEGMENT + 1])
def test_a_hole_is_so_many_zeros(before: int, hole: int) -> None:
    one, other = (FileDigest(before + hole + 1) for _ in range(2))
    for digest in (one, other):
        digest.update(b"x" * before)
    one.add_zeros(hole)
    other.update(bytes(hole))
    assert one.leaves == other.leaves
    for digest in (one, other):
        digest.update(b"y")
    assert one.digest() == other.digest()


def test_the_size_is_part_of_the_digest() -> None:
    short = FileDigest(4)
    short.update(b"abc")
    assert short.digest() != by_the_book(b"abc")


def test_the_empty_file_has_a_digest_of_its_own() -> None:
    assert FileDigest(0).digest() == by_the_book(b"")


def test_the_root_covers_every_field_and_outcome_and_the_order() -> None:
    file = Entry(Kind.FILE, 0, "a", 0o644, 5, 3)
    variants: list[list[tuple[Entry, bytes | None]]] = [
        [(file, b"d" * 32)],
        [(file, b"e" * 32)],
        [(file, None)],
        [(Entry(Kind.FILE, 0, "b", 0o644, 5, 3), b"d" * 32)],
        [(Entry(Kind.FILE, 0, "a", 0o600, 5, 3), b"d" * 32)],
        [(Entry(Kind.FILE, 0, "a", 0o644, 6, 3), b"d" * 32)],
        [(Entry(Kind.FILE, 0, "a", 0o644, 5, 4), b"d" * 32)],
        [(Entry(Kind.DIRECTORY, 0, "a", 0o644, 5), None)],
        [(Entry(Kind.SYMLINK, 1, "a", 0o644, 5, target="x"), None)],
        [(file, b"d" * 32), (Entry(Kind.DIRECTORY, 0, "d"), None)],
        [(Entry(Kind.DIRECTORY, 0, "d"), None), (file, b"d" * 32)],
    ]
    roots = set()
    for entries in variants:
        root = RootDigest()
        for entry, digest in entries:
            root.add(entry, digest)
        roots.add(root.digest())
    assert len(roots) == len(variants)


def test_the_root_is_as_specified() -> None:
    file = Entry(Kind.FILE, 0, "a", 0o644, 5, 3)
    root = RootDigest()
    root.add(file, b"d" * 32)
    expected = blake3(encode_entry(file) + b"\x01" + b"d" * 32, derive_key_context="p2p-copy/1 root digest")
    assert root.digest() == expected.digest()
