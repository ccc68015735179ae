"""Values in text that was pasted, or that an editor has written."""

from __future__ import annotations

import pytest

from p2p_copy.pasted import decode, first_value, value


@pytest.mark.parametrize(
    "data",
    [
        "größe\r\nmore".encode(),
        b"\xef\xbb\xbf" + "größe\r\nmore".encode(),
        "\ufeffgröße\r\nmore".encode("utf-16-le"),
        "\ufeffgröße\r\nmore".encode("utf-16-be"),
    ],
)
def test_a_file_is_text_whatever_editor_has_written_it(data: bytes) -> None:
    assert decode(data) == "größe\r\nmore"
    assert first_value(decode(data)) == "größe"


@pytest.mark.parametrize("data", [b"\x80", b"\xff\xfex", "größe".encode("latin-1")])
def test_a_file_that_is_no_text_is_an_error(data: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        decode(data)


def test_a_beginning_may_end_inside_a_character() -> None:
    assert decode("ab\u00e9".encode()[:-1], cut=True) == "ab"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("x", "x"),
        (" \tx y\u00a0\r\n", "x y"),
        ("\ufeff x", "x"),
        ("Code: a.b-c.d.e", "a.b-c.d.e"),
        ("Token: t", "t"),
        ("code-x Code: y", "code-x Code: y"),
        ("", ""),
    ],
)
def test_text_around_a_value_is_dropped(text: str, meant: str) -> None:
    assert value(text) == meant


def test_the_first_line_ends_at_any_line_end_and_at_nothing_else() -> None:
    assert {first_value(text) for text in ("a\nb", "a\r\nb", "a\rb", "a")} == {"a"}
    assert first_value("a\x0bb\n") == "a\x0bb"
    assert first_value("\nb") == first_value("") == ""
