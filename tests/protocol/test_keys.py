"""The key schedule: HKDF against RFC 5869, and no key for two purposes."""

from __future__ import annotations

import hashlib

import pytest

from p2p_copy.protocol import keys

# RFC 5869 appendix A.1 to A.3: IKM, salt, info, length, PRK, OKM.
RFC_5869 = [
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        42,
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        82,
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        (
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
            "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
            "cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
    ),
    (
        "0b" * 22,
        "",
        "",
        42,
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]

PRK = bytes(range(32))


@pytest.mark.fault(55, "HKDF vectors")
@pytest.mark.parametrize(("ikm", "salt", "info", "length", "prk", "okm"), RFC_5869)
def test_hkdf_matches_rfc_5869(ikm: str, salt: str, info: str, length: int, prk: str, okm: str) -> None:
    assert keys.extract(bytes.fromhex(salt), bytes.fromhex(ikm)).hex() == prk
    assert keys.expand(bytes.fromhex(prk), bytes.fromhex(info), length).hex() == okm


def test_every_purpose_has_a_key_of_its_own() -> None:
    derived = [
        keys.confirm_sender(PRK),
        keys.confirm_receiver(PRK),
        keys.resume(PRK),
        keys.verify(PRK, bytes(32)),
        keys.verify(PRK, bytes([1]) * 32),
        keys.opening(PRK),
        keys.links(PRK),
        keys.ack_sender(PRK),
        keys.ack_receiver(PRK),
        bytes.fromhex(keys.resume_room(PRK)),
        *(bytes.fromhex(keys.link_room(PRK, number)) for number in (0, 1, 15)),
        keys.next_key(PRK),
        keys.sender_to_receiver(PRK),
        keys.receiver_to_sender(PRK),
    ]
    assert len(set(derived)) == len(derived)
    assert {len(key) for key in derived} == {keys.KEY}


def test_record_keys_are_expanded_under_a_label_and_two_zero_bytes() -> None:
    assert keys.sender_to_receiver(PRK) == keys.expand(PRK, b"p2p-copy/1 s2r\x00\x00")
    assert keys.receiver_to_sender(PRK) == keys.expand(PRK, b"p2p-copy/1 r2s\x00\x00")


def test_room_id_is_the_hash_of_the_public_part_alone() -> None:
    assert keys.room_id("lab7") == hashlib.sha256(b"p2p-copy/1 room" + b"lab7").hexdigest()
    assert keys.room_id("é") == hashlib.sha256(b"p2p-copy/1 room\xc3\xa9").hexdigest()
