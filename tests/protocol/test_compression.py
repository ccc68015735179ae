"""Compression: used only where it makes records smaller; decompressing is bounded for any frame."""

from __future__ import annotations

import random
import sys

import pytest
from hypothesis import given, strategies as st

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.protocol import limits
from p2p_copy.protocol.compression import MOST_SKIPPED, Compressor, decompress
from p2p_copy.protocol.records import LEAST_CONTENT, ZSTD, Sealer
from p2p_copy.transfer import limits as transfer_limits
from p2p_copy.units import KIB, MIB

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = bytes.fromhex("28b52ffd")


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def text(size: int) -> bytes:
    # Words in random order: shrinks well, but not to nothing.
    words = [b"relay", b"sender", b"receiver", b"record", b"file", b"code", b"\n", b"and", b"the"]
    chosen = random.Random(size).choices(words, k=size // 3 + 1)
    return b" ".join(chosen)[:size]


NOISE = noise(transfer_limits.CHUNK)
TEXT = text(transfer_limits.CHUNK)


def raw_frame(header: str, *blocks: bytes) -> bytes:
    return MAGIC + bytes.fromhex(header) + b"".join(blocks)


def repeated(byte: bytes, count: int, *, last: bool = True) -> bytes:
    """Return an RLE block (RFC 8878 section 3.1.1.2)."""
    return (int(last) | 1 << 1 | count << 3).to_bytes(3, "little") + byte


@pytest.mark.parametrize("size", [LEAST_CONTENT, 64 * KIB - 1, 64 * KIB, limits.MAX_RECORD_CONTENT])
def test_contents_that_get_smaller_are_compressed_and_decompressed(size: int) -> None:
    content = text(size)
    frame = Compressor().compress(content)
    assert frame is not None
    assert len(frame) < size * 0.95
    assert decompress(frame, size) == content


@given(st.binary(max_size=2000), st.integers(1, 400))
def test_any_content_is_the_same_after_decompression(piece: bytes, times: int) -> None:
    content = piece * times
    frame = Compressor().compress(content)
    assert frame is None or decompress(frame, len(content)) == content


def test_one_compressor_makes_independent_frames() -> None:
    compressor = Compressor()
    frames = [compressor.compress(TEXT) for _ in range(3)]
    assert frames[0] is not None
    assert frames == [frames[0]] * 3


def test_contents_that_do_not_get_smaller_are_sent_uncompressed() -> None:
    assert Compressor().compress(NOISE) is None
    assert Compressor().compress(noise(4 * KIB)) is None


def test_tiny_contents_are_sent_uncompressed() -> None:
    sealer = Sealer(bytes(32), compressor=Compressor)
    assert not sealer.seal([b"a" * (LEAST_CONTENT - 1)])[1] & ZSTD
    assert sealer.seal([b"a", b"a" * (LEAST_CONTENT - 1)])[1] & ZSTD


@pytest.mark.parametrize(("zeros", "pays"), [(300, False), (1000, True)])
def test_a_gain_of_less_than_five_percent_is_not_worth_it(zeros: int, pays: bool) -> None:
    content = noise(10_000 - zeros) + bytes(zeros)
    assert (Compressor().compress(content) is not None) is pays


def test_of_large_contents_the_middle_is_tried_first() -> None:
    header_only = text(100 * KIB) + noise(56 * KIB) + text(100 * KIB)
    assert Compressor().compress(header_only) is None
    noisy_header = noise(50 * KIB) + text(206 * KIB)
    assert Compressor().compress(noisy_header) is not None


def left_alone_after(failures: int) -> int:
    compressor = Compressor()
    for number in range(failures):
        assert compressor.compress(NOISE) is None
        if number < failures - 1:
            for _ in range(min(2**number, MOST_SKIPPED)):
                compressor.compress(NOISE)
    count = 0
    while compressor.compress(TEXT) is None:
        count += 1
    return count


def test_every_failure_in_a_row_doubles_the_pause_up_to_a_cap() -> None:
    assert MOST_SKIPPED == 32
    assert [left_alone_after(failures) for failures in range(1, 9)] == [1, 2, 4, 8, 16, 32, 32, 32]


def test_a_success_shortens_the_pause_again() -> None:
    compressor = Compressor()
    for _ in range(2 + 1 + 2):  # two failures and their pauses
        compressor.compress(NOISE)
    assert compressor.compress(TEXT) is not None
    assert compressor.compress(NOISE) is None
    assert compressor.compress(TEXT) is None
    assert compressor.compress(TEXT) is not None


def test_tiny_contents_do_not_count_as_the_pause() -> None:
    sealer = Sealer(bytes(32), compressor=Compressor)
    flags = [sealer.seal([content])[1] for content in (NOISE, b"a", TEXT, TEXT)]
    assert flags == [0, 0, 0, ZSTD]


@pytest.mark.parametrize(
    "size", [600, 64 * KIB, transfer_limits.CHUNK, transfer_limits.RECORD_TARGET, limits.MAX_RECORD_CONTENT]
)
def test_frames_declare_their_size_and_never_need_a_window_above_the_limit(size: int) -> None:
    frame = Compressor().compress(text(size))
    assert frame is not None
    assert zstd.get_frame_info(frame).decompressed_size == size
    single_segment = bool(frame[4] & 0x20)
    exponent, mantissa = divmod(frame[5], 8)
    window = size if single_segment else (1 << 10 + exponent) // 8 * (8 + mantissa)
    assert window <= 2**limits.ZSTD_WINDOW_LOG


def test_frames_of_a_streaming_encoder_are_opened_too() -> None:
    encoder = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: limits.ZSTD_WINDOW_LOG})
    frame = encoder.compress(TEXT) + encoder.flush()
    assert zstd.get_frame_info(frame).decompressed_size is None
    assert decompress(frame, len(TEXT)) == TEXT


@pytest.mark.fault(61, "declared size")
@pytest.mark.parametrize("wrong", [-1, 1, 1000])
@pytest.mark.parametrize("declared", [True, False])
def test_another_size_than_declared_is_refused(wrong: int, declared: bool) -> None:
    parameter = zstd.CompressionParameter
    frame = zstd.compress(
        TEXT, options={parameter.content_size_flag: int(declared), parameter.window_log: 18}
    )
    assert decompress(frame, len(TEXT)) == TEXT
    with pytest.raises(PeerMisbehaved):
        decompress(frame, len(TEXT) + wrong)


@pytest.mark.fault(61, "bomb")
def test_a_bomb_that_declares_its_size_is_refused() -> None:
    bomb = zstd.compress(bytes(64 * MIB))
    assert len(bomb) < 8 * KIB
    with pytest.raises(PeerMisbehaved):
        decompress(bomb, limits.MAX_RECORD_CONTENT)


@pytest.mark.fault(61, "bomb")
def test_a_bomb_that_hides_its_size_is_refused() -> None:
    # 128 KiB window, no size: 2048 blocks of 128 KiB in 8 KiB.
    blocks = [repeated(b"\0", 128 * KIB, last=False)] * 2047 + [repeated(b"\0", 128 * KIB)]
    bomb = raw_frame("0038", *blocks)
    with pytest.raises(PeerMisbehaved):
        decompress(bomb, limits.MAX_RECORD_CONTENT)


@pytest.mark.fault(61, "bomb", "declared size")
def test_a_bomb_that_declares_the_size_of_its_record_is_refused() -> None:
    header = "a0" + (1000).to_bytes(4, "little").hex()
    assert decompress(raw_frame(header, repeated(b"x", 1000)), 1000) == b"x" * 1000
    with pytest.raises(PeerMisbehaved):
        decompress(raw_frame(header, repeated(b"x", 100_000)), 1000)


def test_a_frame_that_declares_a_huge_size_is_refused() -> None:
    with pytest.raises(PeerMisbehaved):
        decompress(raw_frame("e0" + "ff" * 8, repeated(b"x", 1000)), 1000)


@pytest.mark.fault(61, "window")
@pytest.mark.parametrize("size", [1000, 500_000])
@pytest.mark.parametrize("descriptor", [81, 88, 136, 255])
def test_a_larger_window_is_refused_even_if_the_content_does_not_need_it(size: int, descriptor: int) -> None:
    half = size // 4
    blocks = [repeated(b"x", half, last=False)] * 3 + [repeated(b"x", half)]
    declared = size.to_bytes(4, "little").hex()
    assert decompress(raw_frame("8050" + declared, *blocks), size) == b"x" * size
    with pytest.raises(PeerMisbehaved):
        decompress(raw_frame(f"80{descriptor:02x}" + declared, *blocks), size)


@pytest.mark.fault(61, "many frames")
def test_more_than_one_frame_is_refused() -> None:
    frame = zstd.compress(b"a" * 600)
    skippable = bytes.fromhex("502a4d18") + (4).to_bytes(4, "little") + b"hide"
    for data in (frame + frame, frame + skippable, skippable + frame, skippable, frame + b"\0"):
        for size in (600, 1200):
            with pytest.raises(PeerMisbehaved):
                decompress(data, size)


def test_a_cut_frame_is_refused_at_every_length() -> None:
    content = text(700)
    frame = zstd.compress(content)
    for length in range(len(frame)):
        with pytest.raises(PeerMisbehaved):
            decompress(frame[:length], len(content))


def test_a_frame_that_needs_a_dictionary_is_refused() -> None:
    dictionary = zstd.ZstdDict(text(4000), is_raw=True)
    frame = zstd.compress(text(700), zstd_dict=dictionary)
    with pytest.raises(PeerMisbehaved):
        decompress(frame, 700)


@given(st.binary(max_size=300), st.integers(1, 2000))
def test_garbage_is_refused_and_nothing_else_happens(data: bytes, size: int) -> None:
    with pytest.raises(PeerMisbehaved):
        decompress(data, size)
    with pytest.raises(PeerMisbehaved):
        decompress(MAGIC + b"\x00\x58" + data, size)  # a window above the limit, then garbage
