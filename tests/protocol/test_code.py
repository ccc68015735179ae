"""Codes: generated ones are checked, those that users chose are unchanged, and no error contains a part of one."""

from __future__ import annotations

import hashlib
import inspect
import math
import random
import re
import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings, strategies as st

from p2p_copy.errors import UsageError
from p2p_copy.protocol import code as code_module, limits
from p2p_copy.protocol.code import CHECK_BITS, CHECK_MODULUS, Code, CodeTypo
from p2p_copy.protocol.wordlist import WORDS

if TYPE_CHECKING:
    from collections.abc import Callable

seeds = st.integers(0, 2**32)


def generated(seed: int) -> Code:
    return Code.generate(random.Random(seed).randrange)


def words_of(code: Code) -> list[str]:
    return code.text.replace("-", ".").split(".")


def text_of(words: list[str]) -> str:
    return f"{words[0]}.{words[1]}-{words[2]}.{words[3]}.{words[4]}"


def typo_of(text: str) -> CodeTypo:
    with pytest.raises(CodeTypo) as caught:
        Code.parse(text)
    return caught.value


# The word list


def test_words_are_sorted_unique_and_easy_to_type() -> None:
    assert len(WORDS) == 7772
    assert list(WORDS) == sorted(set(WORDS))
    assert all(word.isascii() and word.isalpha() and word.islower() for word in WORDS)
    assert {len(word) for word in WORDS} == set(range(3, 10))


def test_word_list_is_frozen_because_numbers_of_words_are_specification() -> None:
    digest = hashlib.sha256("\n".join(WORDS).encode()).hexdigest()
    assert digest == "76e3348ad957cad7d9c5c68873e89410ed998c19f4956367ab52d9aec4eee884"


# Generated codes


def test_both_parts_have_enough_random_bits() -> None:
    assert 2 * math.log2(len(WORDS)) >= 25, "two strangers rarely choose the same room"
    assert 2 * math.log2(len(WORDS)) + CHECK_BITS >= 30, "a guess succeeds once in a thousand million times"
    assert len(WORDS) >= CHECK_MODULUS << CHECK_BITS


def test_every_random_bit_reaches_the_code_and_only_those_are_asked_for() -> None:
    asked: list[int] = []

    def lowest(below: int) -> int:
        asked.append(below)
        return 0

    first = Code.generate(lowest)
    assert asked == [len(WORDS)] * 4 + [1 << CHECK_BITS]
    assert words_of(first)[:4] == [WORDS[0]] * 4
    last = Code.generate(lambda below: below - 1)
    assert words_of(last)[:4] == [WORDS[-1]] * 4
    assert WORDS.index(words_of(last)[4]) // CHECK_MODULUS == (1 << CHECK_BITS) - 1


def test_codes_of_earlier_releases_stay_valid() -> None:
    assert generated(1).text == "client.playing-twiddle.surprise.cinema"
    assert generated(2).text == "underwire.zodiac-twitter.bagpipe.crunching"


def test_last_word_is_computed_as_the_specification_says() -> None:
    text = generated(7).text
    front, _, last = text.rpartition(".")
    extra, check = divmod(WORDS.index(last), 242)
    digest = hashlib.sha256(b"p2p-copy/1 code check" + front.encode() + bytes([extra])).digest()
    assert int.from_bytes(digest, "big") % 242 == check


@given(seeds)
def test_generated_codes_are_accepted_by_both_sides(seed: int) -> None:
    code = generated(seed)
    assert Code.parse(code.text) == Code.choose(code.text) == code
    assert code.text == f"{code.room}-{code.secret}"
    assert (code.room.count("."), code.secret.count(".")) == (1, 2)


@pytest.mark.parametrize(
    "spoil",
    [
        str.upper,
        str.title,
        lambda text: f"  {text}\n",
        lambda text: text.replace(".", " . "),
        lambda text: text.replace("-", " - "),
        lambda text: text.replace(".", ". ").upper(),
        lambda text: text.replace(".", "\t"),
        lambda text: text.replace("-", "-\r\n"),
    ],
)
def test_written_codes_may_have_capitals_and_spaces(spoil: Callable[[str], str]) -> None:
    code = generated(3)
    assert Code.parse(spoil(code.text)) == code


WHITE_SPACE = (
    *(
        chr(point)
        for point in (*range(9, 14), *range(0x1C, 0x21), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B))
    ),
    *"\u2028\u2029\u202f\u205f\u3000",
)
"""As docs/protocol.md defines it."""
separators = st.text(
    st.sampled_from([*".,_-\u2010\u2011\u2012\u2013\u2014\u2015\u2212", *WHITE_SPACE]), min_size=1, max_size=3
)
lengths = st.integers(limits.MIN_CODE_WORDS, limits.MAX_CODE_WORDS)


def of_length(words: int, seed: int) -> Code:
    return Code.generate(random.Random(seed).randrange, words=words)


@given(st.data(), lengths, seeds)
def test_a_code_as_heard_is_the_same_code(data: st.DataObject, length: int, seed: int) -> None:
    code = of_length(length, seed)
    spell = st.sampled_from([str.lower, str.upper, str.title])
    heard = "".join(data.draw(spell)(word) + data.draw(separators) for word in words_of(code))
    heard = data.draw(separators) + heard if data.draw(st.booleans()) else heard
    if len(heard) > limits.MAX_CODE:
        return
    assert Code.parse(heard) == Code.choose(heard) == code
    assert Code.parse(heard).is_generated


@pytest.mark.parametrize(
    "heard",
    [
        "sloppy scone folic monthly explicit",
        "Sloppy, scone, folic, monthly, explicit.",
        "SLOPPY-SCONE-FOLIC-MONTHLY-EXPLICIT",
        "sloppy_scone_folic_monthly_explicit",
        "sloppy.scone.folic.monthly.explicit",
        "  sloppy   scone - folic   monthly   explicit  ",
        "sloppy.scone\u2013folic.monthly.explicit",
    ],
)
def test_a_code_as_heard_on_the_phone(heard: str) -> None:
    assert Code.parse(heard).text == "sloppy.scone-folic.monthly.explicit"
    assert Code.parse(heard) == Code("sloppy scone", "Folic monthly explicit")


@given(lengths, seeds)
def test_any_number_of_words_is_accepted_by_both_sides(length: int, seed: int) -> None:
    code = of_length(length, seed)
    assert Code.parse(code.text) == Code.choose(code.text) == code
    assert (code.room.count("."), code.secret.count(".")) == (1, length - 3)
    assert len(code.text) <= limits.MAX_CODE


def test_the_longest_code_fits() -> None:
    longest = max(len(word) for word in WORDS)
    assert limits.MAX_CODE_WORDS * (longest + 1) - 1 <= limits.MAX_CODE


def test_the_shortest_code_allows_one_guess_in_hundreds_of_thousands() -> None:
    free = limits.MIN_CODE_WORDS - 3  # two words are the room, and the last one has CHECK_BITS
    assert len(WORDS) ** free << CHECK_BITS == 248_704


@pytest.mark.parametrize("words", [0, 3, 13, True])
def test_other_numbers_of_words_are_refused(words: int) -> None:
    with pytest.raises(ValueError, match="from 4 to 12"):
        Code.generate(words=words)


# Typos in generated codes


@pytest.mark.parametrize("length", [4, 6, 12])
def test_a_typo_in_a_code_of_any_length_gets_the_right_suggestion(length: int) -> None:
    code = of_length(length, 3)
    for place in range(length):
        words = words_of(code)
        words[place] += "q"
        for text in (code.text.replace(words_of(code)[place], words[place]), " ".join(words)):
            assert typo_of(text).suggestion == code
            assert f"the {code_module._ORDINALS[place]} word is misspelt" in str(typo_of(text))


def test_a_typo_in_a_code_as_heard_is_noticed_where_it_cannot_be_an_own_code() -> None:
    typo = typo_of("sloppy scone, folic monthly explicitt")
    assert typo.suggestion == Code.parse("sloppy scone folic monthly explicit")
    with pytest.raises(UsageError, match="no '-'") as caught:
        Code.choose("sloppy scone, folic monthly explicitt")
    assert not isinstance(caught.value, CodeTypo)


@pytest.mark.parametrize("text", ["acid acorn acre", "acid, acorn", " ".join(["acid"] * 13)])
def test_too_few_or_too_many_words_are_noticed(text: str) -> None:
    assert "cut or too long" in str(typo_of(text))


def test_dashes_and_a_typo_are_an_own_code_that_names_the_similar_one() -> None:
    code = Code.parse("sloppy scone folic monthly explicit")
    own = Code.parse("sloppy-scone-folic-montly-explicit")
    assert (own.room, own.secret) == ("sloppy", "scone-folic-montly-explicit")
    assert own.similar == code
    assert code.similar is None
    assert Code.parse("lab7-a long passphrase").similar is None
    assert Code.parse("qqqq-qqqqq-qqqqq-qqqqq-acid").similar is None


@pytest.mark.parametrize(
    "text",
    [
        "sloppy/scone-folic.monthly.explicit",
        "sloppy; scone-folic.monthly.explicit",
        "sloppyscone-folic.monthly.explicit",
        "sloppylscone-folic.monthly.explicit",
        "sloppy1scone-folic.monthly.explicit",
        "sloppy.scone-folic/monthly.explicit",
        "sloppy.scone-folic.monthly.explicit1",
        "sloppy.scone-folic.monthlyexplicit",
        "sloppy.scone=folic.monthly.explicit",
        "sloppyscone folic monthly explicit",
    ],
)
def test_what_stands_between_the_words_may_be_mistyped(text: str) -> None:
    """It is no generated code, because it may be an own one; but it is asked whether that was meant."""
    assert _suggested(text) == Code.parse("sloppy scone folic monthly explicit")


def _suggested(text: str) -> Code | None:
    try:
        code = Code.parse(text)
    except CodeTypo as typo:
        return typo.suggestion
    return None if code.is_generated else code.similar


@pytest.mark.parametrize(
    "text",
    [
        "sloppy1scone-folic.monthly.explicitt1",
        "lab7-correct horse battery staple",
        "acid!acorn-acre/acts/add",
    ],
)
def test_an_own_code_with_other_words_is_no_typo(text: str) -> None:
    assert Code.parse(text).similar is None


def misspelt(word: str, rng: random.Random) -> str:
    at = rng.randrange(len(word))
    letter = rng.choice("abcdefghijklmnopqrstuvwxyz")
    return rng.choice(
        [
            word[:at] + word[at + 1 :],
            word[:at] + letter + word[at:],
            word[:at] + letter + word[at + 1 :],
            word[:at] + word[at + 1 : at + 2] + word[at] + word[at + 2 :],
        ]
    )


@pytest.mark.parametrize("places", [[0], [1], [2], [3], [4], [0, 4], [1, 3], [0, 2, 3]])
def test_misspelt_words_get_the_right_suggestion(places: list[int]) -> None:
    rng = random.Random(len(places) * 10 + places[0])
    right = tried = 0
    for _ in range(25):
        code = Code.generate(rng.randrange)
        words = words_of(code)
        for place in places:
            words[place] = misspelt(words[place], rng)
        if text_of(words) == code.text:
            continue
        tried += 1
        right += typo_of(text_of(words)).suggestion == code
    assert right >= 0.9 * tried  # two candidates may be equally near; then nothing is suggested


@pytest.mark.parametrize("place", range(4))
def test_swapped_neighbours_get_the_right_suggestion(place: int) -> None:
    code = generated(place + 20)
    words = words_of(code)
    words[place], words[place + 1] = words[place + 1], words[place]
    typo = typo_of(text_of(words))
    assert typo.suggestion == code
    assert "swapped" in str(typo)


def test_known_words_that_do_not_belong_together_are_noticed() -> None:
    words = words_of(generated(5))
    assert words[2] != "acid"
    words[2] = "acid"
    assert "do not belong together" in str(typo_of(text_of(words)))


def test_message_names_the_place_of_the_misspelt_words() -> None:
    words = words_of(generated(6))
    words[3] = "qqqqqqqq"
    assert "the 4th word is misspelt" in str(typo_of(text_of(words)))
    words[0] = "qqqqqqqq"
    assert "the 1st and 4th words are misspelt" in str(typo_of(text_of(words)))


def test_too_many_misspelt_words_get_no_suggestion() -> None:
    assert typo_of("qqqq.qqqq-qqqq.qqqq.qqqq").suggestion is None
    assert typo_of("q" * 60 + "." + "z" * 60 + "-acid.acorn.acre").suggestion is None


@settings(max_examples=30)
@given(seeds, st.integers(0, 4), st.sampled_from(WORDS))
def test_a_suggestion_is_itself_a_valid_code(seed: int, place: int, other: str) -> None:
    words = words_of(generated(seed))
    words[place] = other + "x"
    suggestion = typo_of(text_of(words)).suggestion if other + "x" not in WORDS else None
    assert suggestion is None or Code.parse(suggestion.text) == suggestion


def test_one_wrong_word_in_242_goes_unnoticed() -> None:
    code = generated(8)
    words = words_of(code)
    passed = 0
    for other in WORDS[::4]:
        words[1] = other
        passed += code_module._is_valid(tuple(words))
    assert passed < 3 * len(WORDS[::4]) / CHECK_MODULUS


def test_a_word_that_is_being_typed_is_completed_from_the_list() -> None:
    assert Code.completions("slop") == ["sloped", "sloping", "sloppily", "sloppy"]
    assert Code.completions("SCON") == ["scone"]
    assert Code.completions("zzz") == Code.completions("") == []
    for letter in "az":
        assert Code.completions(letter) == [word for word in WORDS if word[0] == letter]


# People's own codes


@pytest.mark.parametrize(
    ("text", "room", "secret"),
    [
        ("tulip-house-river-candle", "tulip", "house-river-candle"),
        ("tulip-house-river-candle-lamp", "tulip", "house-river-candle-lamp"),
        ("lab7-a long passphrase", "lab7", "a long passphrase"),
        ("a.b-c.d.e f g", "a.b", "c.d.e f g"),
        ("acid.qqqq-acre.act.active.actor", "acid.qqqq", "acre.act.active.actor"),
        ("correct.horse-battery staple", "correct.horse", "battery staple"),
        ("acid.acorn-acre act active", "acid.acorn", "acre act active"),
        ("acid-acorn-acre-act-active", "acid", "acorn-acre-act-active"),
        ("acid acorn-acre.act.active", "acid acorn", "acre.act.active"),
        ("acid.acorn-acre.act.active7", "acid.acorn", "acre.act.active7"),
        ("Öl.Bär-Käse.Brot.Wein", "Öl.Bär", "Käse.Brot.Wein"),
        ("Lab 7 - A  Long Passphrase ", "Lab 7", "A  Long Passphrase"),
        ("lab7\t-\u2028a long passphrase\x1f", "lab7", "a long passphrase"),
        ("x--leading-dash", "x", "-leading-dash"),
        (
            "\u7814\u7a76\u5ba4-\u9577\u3044\u5408\u8a00\u8449\u3067\u3059\u3088",
            "\u7814\u7a76\u5ba4",
            "\u9577\u3044\u5408\u8a00\u8449\u3067\u3059\u3088",
        ),
    ],
)
def test_own_codes_are_never_compared_with_the_words(text: str, room: str, secret: str) -> None:
    assert Code.parse(text) == Code.choose(text) == Code(room, secret)


@given(st.lists(st.sampled_from(WORDS), min_size=4, max_size=8), st.sampled_from("- _,"))
def test_own_codes_of_words_in_the_list_are_kept_but_for_those_that_pass_the_check(
    words: list[str], separator: str
) -> None:
    text = f"{words[0]}-{separator.join(words[1:])}"
    code = Code.choose(text)
    assert Code.parse(text) == code
    if code_module._is_valid(tuple(words)):
        assert code.text == f"{words[0]}.{words[1]}-{'.'.join(words[2:])}"
    else:
        assert (code.room, code.secret) == (words[0], separator.join(words[1:]))


printable = st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Zs"])


@given(st.text(printable, min_size=1, max_size=20), st.text(printable, min_size=8, max_size=60))
def test_any_own_code_means_the_same_to_both_sides(room: str, secret: str) -> None:
    text = f"{room.replace('-', '_')}-{secret}7"  # a digit at the end keeps it out of the generated form
    try:
        code = Code.choose(text)
    except UsageError:  # NFC may shorten the secret below its least length
        with pytest.raises(UsageError):
            Code.parse(text)
        return
    assert Code.parse(text) == code
    assert Code.parse(code.text) == code


def test_composed_and_decomposed_spelling_are_the_same_code() -> None:
    assert Code.parse("cafe\u0301-un tre\u0300s long secret") == Code.parse(
        "caf\u00e9-un tr\u00e8s long secret"
    )


def test_choosing_the_reserved_form_is_refused_and_explained() -> None:
    with pytest.raises(UsageError) as caught:
        Code.choose("my.lab-has.its.words")
    assert not isinstance(caught.value, CodeTypo)
    assert "spaces or dashes" in str(caught.value)


# The specification: the same rules, read from section 1 of docs/protocol.md


def trimmed(text: str) -> str:
    return text.strip("".join(WHITE_SPACE))


def specified(text: str) -> tuple[str, str] | None:
    """Return room and secret of a text; None if it is no code."""
    text = trimmed(unicodedata.normalize("NFC", text))
    if len(text) > limits.MAX_CODE:
        return None
    white = "".join(WHITE_SPACE)
    words = [word.lower() for word in re.split(f"[{white}.,_\\-\u2010-\u2015\u2212]+", text) if word]
    if not all(re.fullmatch("[a-z]+", word, re.ASCII) for word in words):
        words = []
    known = [word for word in words if word in WORDS]
    if limits.MIN_CODE_WORDS <= len(words) == len(known) <= limits.MAX_CODE_WORDS:
        front = f"{words[0]}.{words[1]}-{'.'.join(words[2:-1])}"
        extra, check = divmod(WORDS.index(words[-1]), 242)
        digest = hashlib.sha256(b"p2p-copy/1 code check" + front.encode() + bytes([extra])).digest()
        if extra < 32 and int.from_bytes(digest, "big") % 242 == check:
            return f"{words[0]}.{words[1]}", ".".join(words[2:])
    most = 2 * len(known) > len(words)
    form = re.sub(f"[{white}]*([.-])[{white}]*", r"\1", text)
    is_form = re.fullmatch(r"[a-zA-Z]+\.[a-zA-Z]+-[a-zA-Z]+(\.[a-zA-Z]+)*", form) is not None
    if is_form and (len(words) == 5 or (len(words) >= 3 and most)):
        return None
    if "-" not in text:
        return None
    room, secret = map(trimmed, text.split("-", 1))
    if any(unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") for character in room + secret):
        return None
    return (room, secret) if room and len(secret) >= limits.MIN_OWN_SECRET else None


def test_white_space_is_what_the_specification_says() -> None:
    assert {character for character in map(chr, range(0x110000)) if character.isspace()} == set(WHITE_SPACE)


pieces = st.sampled_from(
    [
        *"abcXYZ-.,_ \t\n\u00a0\u2028\u200b\x00\u0301\u00e9\u2013\u212a\u017f\u0130\u3000",
        "-",
        "-",
        " - ",
        "lab7",
        "secret",
    ]
)
some_words = st.sampled_from(["acid", "acorn", "acre", "act", "active", "ACTOR", "qqqq"])


@st.composite
def written_codes(draw: st.DrawFn) -> str:
    """Return words of the list or not, a generated code perhaps, between all kinds of separators."""
    words = draw(st.lists(some_words, min_size=2, max_size=8))
    if draw(st.booleans()):
        words = words_of(of_length(draw(lengths), draw(seeds)))
    if draw(st.booleans()):
        words[draw(st.integers(0, len(words) - 1))] = draw(
            st.sampled_from(["lab7", "acid", "Qqqq", "\u017fea"])
        )
    form = st.sampled_from([".", "-", " ", ". ", "\t-\n", "\u00a0.", "\u200b", "\u2013", ","])
    return "".join(draw(form) + word for word in words)[draw(st.integers(0, 1)) :]


@given(st.lists(pieces, min_size=5, max_size=30).map("".join) | written_codes())
@example("lab7 - a long passphrase")
@example("acid.\u00a0acorn-acre.act.active")
@example("acid\tacorn\tacre\tact\tactive")
@settings(max_examples=400)
def test_a_text_is_read_as_the_specification_says(text: str) -> None:
    try:
        code = Code.parse(text)
    except UsageError:
        assert specified(text) is None
        return
    assert (code.room, code.secret) == specified(text)
    assert Code.choose(text) == Code.parse(code.text) == code


# Refusals


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "hunter",
        "my own passphrase",
        "-",
        "-secretsecret",
        " - secretsecret",
        "room-",
        "room-short",
        "room-   a    ",
    ],
)
def test_wrong_forms_are_refused_with_a_sentence_that_shows_the_form(text: str) -> None:
    with pytest.raises(UsageError, match="lab7-a long passphrase"):
        Code.parse(text)
    with pytest.raises(UsageError, match="lab7-a long passphrase"):
        Code.choose(text)


def test_least_secret_and_longest_code_are_exact() -> None:
    least = limits.MIN_OWN_SECRET
    assert Code.parse("r-" + "s" * least).secret == "s" * least
    with pytest.raises(UsageError):
        Code.parse("r-" + "s" * (least - 1))
    assert Code.parse("r-" + "s" * (limits.MAX_CODE - 2)).room == "r"
    with pytest.raises(UsageError):
        Code.parse("r-" + "s" * (limits.MAX_CODE - 1))


@pytest.mark.parametrize(
    "bad", ["\0", "\n", "\x1b", "\x7f", "\x85", "\u200b", "\u202e", "\u2028", "\ufeff", "\ud800"]
)
def test_invisible_characters_are_refused(bad: str) -> None:
    with pytest.raises(UsageError, match="invisible"):
        Code.parse(f"room-secret{bad}secret")


def refused(read: Callable[[str], Code], text: str) -> str:
    try:
        read(text)
    except UsageError as refusal:
        return f"{refusal} {refusal!r}"
    return ""


@pytest.mark.parametrize("read", [Code.parse, Code.choose])
@given(st.text(max_size=60))
@example("acid.acorn-acre.act.active")
@example("acid.acorn-acre.act.qqqqq")
@example("hunter2hunter2")
@example("room-sesame")
def test_no_refusal_repeats_what_was_refused(read: Callable[[str], Code], text: str) -> None:
    said = refused(read, text)
    ours = inspect.getsource(code_module)  # "secre" stands in every sentence about secrets
    words = [word for word in text.replace("-", ".").split(".") if len(word) >= 5 and word not in ours]
    assert not any(word in said for word in words)


def test_a_suggestion_stays_out_of_the_exception_text() -> None:
    code = generated(9)
    words = words_of(code)
    words[4] += "x"
    typo = typo_of(text_of(words))
    assert typo.suggestion == code
    for word in [*words, words_of(code)[4]]:
        assert word not in str(typo)
        assert word not in repr(typo)
        assert word not in repr(vars(typo))


def test_only_the_text_of_a_code_shows_it() -> None:
    code = generated(10)
    assert str(code) == code.text
    for shown in (repr(code), f"{code!r}", f"{[code]}"):
        assert not any(word in shown for word in words_of(code))


@pytest.mark.parametrize("kept", [1, 2, 4])
def test_a_generated_code_that_is_cut_or_too_long_is_caught(kept: int) -> None:
    code = Code.generate(lambda below: below - 1)
    secret = ".".join([*code.secret.split("."), "word"][:kept])
    for take in (Code.parse, Code.choose):
        with pytest.raises(UsageError):
            take(f"{code.room}-{secret}")


def test_a_dotted_room_of_other_words_stays_a_users_own() -> None:
    assert Code.parse("lab.seven-a long passphrase").room == "lab.seven"


def test_a_generated_code_is_known_by_its_form() -> None:
    assert Code.generate(lambda below: below // 3).is_generated
    assert not Code.parse("lab7-a long passphrase").is_generated
