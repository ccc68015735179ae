"""CPace: compared with all test vectors of the draft for this suite and setting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from p2p_copy.errors import WrongCode
from p2p_copy.protocol import cpace

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "cpace_x25519.json").read_text(encoding="utf-8")
)
RUN: dict[str, bytes] = {name: bytes.fromhex(value) for name, value in VECTORS["run"].items()}
POINTS: list[dict[str, Any]] = VECTORS["scalar_mult_vfy"]["points"]
LOW_ORDER = [bytes.fromhex(point["u"]) for point in POINTS if point["must_abort"]]


@pytest.mark.parametrize("case", VECTORS["prepend_len"])
def test_prepend_len_matches_the_draft(case: dict[str, str]) -> None:
    assert cpace.prepend_len(bytes.fromhex(case["data"])).hex() == case["result"]


@pytest.mark.parametrize("case", VECTORS["lv_cat"])
def test_lv_cat_matches_the_draft(case: dict[str, Any]) -> None:
    assert cpace.lv_cat(*map(bytes.fromhex, case["parts"])).hex() == case["result"]


def test_generator_string_matches_the_draft() -> None:
    assert cpace.generator_string(RUN["PRS"], RUN["CI"], RUN["sid"]) == RUN["generator_string"]


def test_field_element_is_decoded_as_in_the_draft() -> None:
    assert cpace.encode_u(cpace.decode_u(RUN["generator_string_hash"])) == RUN["field_element"]


def test_elligator_matches_the_draft() -> None:
    assert cpace.encode_u(cpace.elligator2(cpace.decode_u(RUN["field_element"]))) == RUN["g"]


def test_generator_matches_the_draft() -> None:
    assert cpace.calculate_generator(RUN["PRS"], RUN["CI"], RUN["sid"]) == RUN["g"]


@pytest.mark.fault(55, "CPace vectors")
def test_shares_match_the_draft() -> None:
    assert cpace.share(RUN["ya"], RUN["g"]) == RUN["Ya"]
    assert cpace.share(RUN["yb"], RUN["g"]) == RUN["Yb"]


def test_shared_point_matches_the_draft_on_both_sides() -> None:
    assert cpace.scalar_mult_vfy(RUN["ya"], RUN["Yb"]) == RUN["K"]
    assert cpace.scalar_mult_vfy(RUN["yb"], RUN["Ya"]) == RUN["K"]


def test_transcript_matches_the_draft() -> None:
    transcript = cpace.lv_cat(RUN["Ya"], RUN["ADa"], RUN["Yb"], RUN["ADb"])
    assert transcript == RUN["transcript_ir"]
    assert cpace.lv_cat(cpace.DSI_ISK, RUN["sid"], RUN["K"]) + transcript == RUN["ISK_input"]


@pytest.mark.fault(55, "CPace vectors")
def test_session_key_matches_the_draft() -> None:
    isk = cpace.isk_ir(RUN["sid"], RUN["K"], RUN["Ya"], RUN["ADa"], RUN["Yb"], RUN["ADb"])
    assert isk == RUN["ISK_IR"]


@pytest.mark.fault(46, "low order", "non-canonical")
@pytest.mark.parametrize("point", POINTS, ids=lambda point: point["name"])
def test_peculiar_points_give_what_the_draft_says_or_abort(point: dict[str, Any]) -> None:
    scalar = bytes.fromhex(VECTORS["scalar_mult_vfy"]["s"])
    u = bytes.fromhex(point["u"])
    if point["must_abort"]:
        with pytest.raises(WrongCode):
            cpace.scalar_mult_vfy(scalar, u)
    else:
        assert cpace.scalar_mult_vfy(scalar, u).hex() == point["q"]


@pytest.mark.fault(46, "low order")
@pytest.mark.parametrize("u", LOW_ORDER, ids=bytes.hex)
@given(scalar=st.binary(min_size=32, max_size=32))
def test_a_low_order_point_aborts_with_every_scalar(u: bytes, scalar: bytes) -> None:
    with pytest.raises(WrongCode):
        cpace.scalar_mult_vfy(scalar, u)


@given(st.binary(min_size=32, max_size=32))
def test_every_field_element_maps_to_a_point_on_the_curve(data: bytes) -> None:
    q = 2**255 - 19
    u = cpace.elligator2(cpace.decode_u(data))
    assert 0 <= u < q
    assert pow(u**3 + 486662 * u**2 + u, (q - 1) // 2, q) in (0, 1)


@given(prs=st.binary(max_size=200), ci=st.binary(max_size=40), sid=st.binary(max_size=40))
def test_secret_and_padding_fill_whole_blocks_of_the_hash_before_anything_public(
    prs: bytes, ci: bytes, sid: bytes
) -> None:
    text = cpace.generator_string(prs, ci, sid)
    public = cpace.lv_cat(ci, sid)
    assert text.endswith(public)
    assert len(text) - len(public) == max(128, len(cpace.lv_cat(cpace.DSI, prs, b"")))


@given(
    ya=st.binary(min_size=32, max_size=32),
    yb=st.binary(min_size=32, max_size=32),
    prs=st.binary(max_size=40),
)
def test_both_sides_reach_the_same_point(ya: bytes, yb: bytes, prs: bytes) -> None:
    generator = cpace.calculate_generator(prs, b"ci", b"sid")
    a = cpace.scalar_mult_vfy(ya, cpace.share(yb, generator))
    b = cpace.scalar_mult_vfy(yb, cpace.share(ya, generator))
    assert a == b


def test_scalars_and_points_of_another_length_are_a_bug_and_not_a_wrong_code() -> None:
    with pytest.raises(ValueError):
        cpace.scalar_mult_vfy(bytes(31), RUN["g"])
    with pytest.raises(ValueError):
        cpace.scalar_mult_vfy(RUN["ya"], RUN["g"][:-1])
