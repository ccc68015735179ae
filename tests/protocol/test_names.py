"""Names from a peer: which are refused, which collide, where symlinks may point, how names are escaped."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given, strategies as st

from p2p_copy.protocol import limits
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.names import (
    PARTIAL_PREFIX,
    SeenNames,
    _refusal_by_rules,
    collision_key,
    refusal,
    symlink_target_refusal,
)

any_text = st.text(st.characters(codec=None), max_size=40)

# What no receiver takes


@pytest.mark.parametrize("portable", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "/",
        "/etc",
        "a/b",
        "../x",
        "a\0b",
        "\ud800",
        "a\udc80",
        "x" * 256,
        "\u00e9" * 128,
        "\x1b[31mred",
        "line\nfeed",
        "car\rriage",
        "\x7f",
        "\x85",
        "\x9b31m",
        "par\u2029agraph",
        "li\u2028ne",
        "cod\u202egpj.exe",
        "\u061c",
        "\u200e",
        "\u200f",
        *(f"bidi{chr(number)}" for number in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))),
        PARTIAL_PREFIX + "x",
        PARTIAL_PREFIX,
        ".P2P-Copy-X",
    ],
)
def test_refused_by_every_receiver(name: str, portable: bool) -> None:
    assert refusal(name, portable=portable) is not None


@pytest.mark.fault(57, "dot and space")
@pytest.mark.parametrize(
    "name",
    [
        "back\\slash",
        "..\\x",
        "\\\\server\\share",
        "C:",
        "D:x",
        "file:stream",
        "a<b",
        "a>b",
        'a"b',
        "a|b",
        "a?",
        "*",
        "dot.",
        "space ",
        "...",
        ".. ",
        ". .",
        "zero\u200bwidth",
        "soft\u00adhyphen",
        "\ufeffbom",
        "private\ue000",
        "tag\U000e0041",
        "CON",
        "con",
        "Prn",
        "AUX.txt",
        "nul.tar.gz",
        "NUL .txt",
        "NUL  .",
        "CLOCK$",
        "conin$",
        "CONOUT$.log",
        *(
            f"{port}{number}{rest}"
            for port in ("com", "LPT")
            for number in "123456789¹²³"
            for rest in ("", ".h")
        ),
    ],
)
def test_refused_only_as_portable_names(name: str) -> None:
    assert refusal(name, portable=True) is not None
    assert refusal(name, portable=False) is None


@pytest.mark.parametrize("portable", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        "a",
        "README.md",
        ".bashrc",
        ".p2p-copy.toml",
        "..data",
        "a..b",
        "-rf",
        "~",
        "$HOME",
        "%PATH%",
        "it's; rm & (so) [on] {and}, #on = !",
        " leading",
        "CONSOLE",
        "com",
        "COM0",
        "com10",
        "null",
        "x.CON",
        "x" * 255,
        "\u00e9" * 127,
        "e\u0301te\u0301.txt",
        "\u5831\u544a\u66f8\u3000\u6700\u7d42.pdf",
        "no\u00a0break",
        "\U0001f4be",
        "\u05e9\u05dc\u05d5\u05dd",
    ],
)
def test_accepted_by_every_receiver(name: str, portable: bool) -> None:
    assert refusal(name, portable=portable) is None


def test_joined_emoji_are_accepted_as_system_names_only() -> None:
    family = "\U0001f469\u200d\U0001f467.png"
    assert refusal(family, portable=False) is None
    assert refusal(family, portable=True) is not None


@given(any_text, st.booleans())
@example("\u202e", True)
@example("\ud83d\ude00", False)
def test_a_reason_is_a_printable_phrase_and_an_accepted_name_is_one_safe_component(
    name: str, portable: bool
) -> None:
    reason = refusal(name, portable=portable)
    if reason is None:
        assert 0 < len(name.encode()) <= limits.MAX_NAME
        assert name not in {".", ".."}
        assert not set(name) & set("/\0\n\r\x1b")
    else:
        assert reason.isascii()
        assert reason.isprintable()


@given(any_text)
def test_portable_names_are_a_subset(name: str) -> None:
    if refusal(name, portable=True) is None:
        assert refusal(name, portable=False) is None


# What collides


@pytest.mark.fault(57, "normal form", "case")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("\u00e9", "e\u0301"),
        ("README", "readme"),
        ("stra\u00dfe", "STRASSE"),
        ("\u212a", "k"),
        ("\u212b", "\u00e5"),
        ("\u03c3", "\u03c2"),
        ("\ufb01le", "FILE"),
        ("\u0391\u0345\u0301", "\u1fb4"),
        ("name.", "name"),
        ("name. .", "NAME"),
    ],
)
def test_names_that_some_system_takes_for_one_share_a_portable_key(one: str, other: str) -> None:
    assert collision_key(one, portable=True) == collision_key(other, portable=True)
    assert collision_key(one, portable=False) != collision_key(other, portable=False)


@pytest.mark.parametrize(
    ("one", "other"), [("a", "b"), ("e", "\u00e9"), ("a b", "ab"), (".a", "a"), ("o", "0"), ("i", "\u0131")]
)
def test_different_names_have_different_keys(one: str, other: str) -> None:
    assert collision_key(one, portable=True) != collision_key(other, portable=True)


@given(any_text)
def test_normal_forms_and_case_folding_never_change_the_portable_key(name: str) -> None:
    key = collision_key(name, portable=True)
    for form in ("NFC", "NFD"):
        assert collision_key(unicodedata.normalize(form, name), portable=True) == key
    assert collision_key(name.casefold(), portable=True) == key
    assert collision_key(key, portable=True) == key


# Where links may point


@pytest.mark.parametrize(
    ("target", "depth"),
    [
        ("x", 1),
        ("./x", 1),
        (".", 1),
        ("a/b/c", 1),
        ("a//b/./c/", 1),
        ("..", 2),
        ("../x", 2),
        ("./../x", 2),
        ("../../x", 3),
        ("..data/x", 1),
        ("x" * 255, 1),
    ],
)
def test_symlinks_inside_their_tree_are_accepted(target: str, depth: int) -> None:
    assert symlink_target_refusal(target, depth, portable=True) is None
    assert symlink_target_refusal(target, depth, portable=False) is None


@pytest.mark.parametrize("portable", [True, False])
@pytest.mark.parametrize(
    ("target", "depth"),
    [
        ("x", 0),
        ("", 1),
        ("/", 1),
        ("/etc/passwd", 5),
        ("//x", 5),
        ("..", 1),
        ("../x", 1),
        (".././/..", 2),
        ("../../x", 2),
        ("../../../x", 3),
        ("a/..", 5),
        ("a/../b", 5),
        ("../a/../b", 5),
        ("a\0b", 1),
        ("a/\x1b[2J", 1),
        ("a/\ud800", 1),
        ("a/cod\u202egpj", 1),
        ("x" * 256, 1),
        ("abc/" * 1024 + "x", 1),
        (f"a/{PARTIAL_PREFIX}x", 1),
    ],
)
def test_symlinks_out_of_their_tree_are_refused(target: str, depth: int, portable: bool) -> None:
    assert symlink_target_refusal(target, depth, portable=portable) is not None


@pytest.mark.parametrize("target", ["a\\b", "..\\..\\x", "C:/x", "C:x", "\\\\server\\share", "a/NUL", "a./b"])
def test_symlinks_that_mean_something_else_on_windows_are_not_portable(target: str) -> None:
    assert symlink_target_refusal(target, 1, portable=True) is not None
    assert symlink_target_refusal(target, 1, portable=False) is None


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b"]), max_size=8), st.integers(0, 5))
def test_an_accepted_symlink_never_leaves_its_tree_step_by_step(parts: list[str], depth: int) -> None:
    target = "/".join(parts)
    if symlink_target_refusal(target, depth, portable=True) is None:
        level = depth  # directories around the place we are at
        for part in parts:
            level += {"..": -1, ".": 0, "": 0}.get(part, 1)
            assert level >= 1


# How names are shown


@pytest.mark.fault(65, "prompt and errors")
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("plain/path with space.txt", "plain/path with space.txt"),
        ("\u00e9t\u00e9 \U0001f4be \u5831\u544a", "\u00e9t\u00e9 \U0001f4be \u5831\u544a"),
        ("back\\slash", "back\\slash"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("cod\u202egpj", "cod\\u202egpj"),
        ("\u2028\u2066\x9b\x7f", "\\u2028\\u2066\\x9b\\x7f"),
        ("\U000e0041", "\\U000e0041"),
        ("caf\udce9", "caf\\xe9"),
        ("\ud800", "\\ud800"),
        ("", ""),
    ],
)
def test_what_is_escaped(path: str, expected: str) -> None:
    assert escape(path) == expected


@given(any_text)
def test_escaped_text_is_printable_utf_8_and_escaped_again_unchanged(path: str) -> None:
    text = escape(path)
    assert text.isprintable()
    assert text.encode().decode() == text
    assert escape(text) == text


@given(st.text("aAcCoOnNmMlLpPtTuUxX019.-_ $", max_size=9), st.booleans())
@example("com1.x", True)
@example("com1", False)
@example("con .txt", True)
@example("photo 1.jpg", True)
@example("x" * 256, True)
def test_the_short_cut_for_plain_names_takes_none_that_a_rule_refuses(name: str, portable: bool) -> None:
    assert refusal(name, portable=portable) == _refusal_by_rules(name, portable=portable)


# Names seen twice


@pytest.fixture
def only_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep no names whole, as in a directory with very many."""
    monkeypatch.setattr("p2p_copy.protocol.names._FEW", 0)


def test_a_name_is_seen_once() -> None:
    seen = SeenNames(bytes(16))
    assert seen.add("a")
    assert seen.add("b")
    assert not seen.add("a")
    assert seen.add("\udc80")
    assert not seen.add("\udc80")


def test_nothing_is_forgotten_or_invented_while_the_tables_grow() -> None:
    seen = SeenNames(b"k" * 16)
    names = [f"file-{number}" for number in range(30_000)]
    assert all(seen.add(name) for name in names)
    assert not any(seen.add(name) for name in names)


@pytest.mark.usefixtures("only_hashes")
def test_the_key_decides_where_names_lie() -> None:
    one, other = SeenNames(b"1" * 16), SeenNames(b"2" * 16)
    one.add("a")
    other.add("a")
    assert [list(table) for table in one._tables] != [list(table) for table in other._tables]


@pytest.mark.parametrize("few", [0, 3, 1000])
@given(names=st.lists(st.text("ab\udc80", max_size=2)))
def test_seen_names_behave_like_a_set(few: int, names: list[str]) -> None:
    seen, model = SeenNames(bytes(16)), set[str]()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("p2p_copy.protocol.names._FEW", few)
        for name in names:
            assert seen.add(name) is (name not in model)
            model.add(name)


def test_a_million_names_would_fit_in_24_bytes_each() -> None:
    seen = SeenNames(bytes(16))
    count = 40_000
    for number in range(count):
        seen.add(str(number))
    held = sum(table.itemsize * len(table) for table in seen._tables)
    assert held <= 24 * count
