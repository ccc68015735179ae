"""The code that two people share: `ROOM-SECRET`, generated or their own.

ROOM need not be secret (the relay sees its hash), SECRET must be; the first "-" separates them.

A generated code is `w1.w2-w3. ... .wn`, lower-case words of `WORDS`, from 4 to 12, by default 5. The number of wn is
r * 242 + c with five random bits r and the checksum c = SHA-256("p2p-copy/1 code check" || all before ".wn" || r as one
byte), read as one big-endian number, modulo 242. So a typo is noticed here, before it costs the only attempt.

Which text is which code, by the first rule that fits:

1. Words of the list whose last one is right for the others are a generated code, in capitals or not, with any white
   space, dots, commas, underscores and dashes between them, before and after: people hear codes and write them down.
2. The written form of a generated code is one with a typo if it has five words, or if most of them are in the list. So
   is a text without "-" if most of its words are in the list.
3. Every other text with a "-" is a code that its users chose, and is taken as it is, but for white space around its two
   parts.

One own code in 242 of those that have only words of the list falls under rule 1, for both sides alike. Two people
cannot have agreed on a text that falls under rule 2, because `Code.choose` refuses it to the one who begins.

No sentence raised here contains any part of a code.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from bisect import bisect_left
from itertools import product
from typing import TYPE_CHECKING, Final, TypeAlias

from p2p_copy.errors import UsageError
from p2p_copy.protocol import limits
from p2p_copy.protocol.wordlist import WORDS
from p2p_copy.value import FrozenValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

_Words: TypeAlias = tuple[str, ...]

CHECK_BITS: Final = 5
"""Random bits in the last word."""

CHECK_MODULUS: Final = len(WORDS) >> CHECK_BITS
"""Values of the checksum: 242, so a wrong code passes once in 242 times."""

_CHECK_LABEL: Final = b"p2p-copy/1 code check"

_WRITTEN: Final = re.compile(r"[a-z]+\s*\.\s*[a-z]+\s*-\s*[a-z]+(?:\s*\.\s*[a-z]+)*", re.IGNORECASE)
"""The form in which a generated code is shown, with white space where it may come in by hand."""

_SEPARATORS: Final = re.compile(r"[\s.,_\-\u2010-\u2015\u2212]+")
"""What may stand between the words of a generated code; editors and telephones make other dashes of a "-"."""

_LETTERS: Final = re.compile(r"[a-z]+")

_LONGEST: Final = max(map(len, WORDS))

_FORM: Final = (
    "A code is ROOM-SECRET, for example: lab7-a long passphrase (the first '-' ends the room; "
    f"the secret has at least {limits.MIN_OWN_SECRET} characters)."
)

_NO_DASH: Final = f"The code has no '-'. {_FORM}"

_COUNTS: Final = range(limits.MIN_CODE_WORDS, limits.MAX_CODE_WORDS + 1)
"""How many words a generated code may have."""

_WRONG_COUNT: Final = (
    f"The code is cut or too long: it has from {limits.MIN_CODE_WORDS} to {limits.MAX_CODE_WORDS} words. "
    "Compare it with the one that the sender shows."
)

_MISSPACED: Final = (
    "The code has a typo: what stands between its words. Compare it with the one that the sender shows."
)

_ORDINALS: Final = ("1st", "2nd", "3rd", *(f"{number}th" for number in range(4, limits.MAX_CODE_WORDS + 1)))

_ROOM_WORDS: Final = 2
"""Words of a generated code that name its room."""

_MOST_UNKNOWN: Final = 3
"""Misspelt words up to which a code is suggested; a text with more is something else."""

_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class CodeTypo(UsageError):
    """The code has a typo. Compare it with the one that the sender shows."""

    def __init__(self, sentence: str | None = None, suggestion: Code | None = None) -> None:
        """Keep the suggested code out of the sentence, which may be logged."""
        super().__init__(sentence)
        self.suggestion = suggestion


class Code(FrozenValue):
    """The code that two people share, by its two parts, in NFC. `str` is the whole code, and `repr` shows none of it.

    Made by `generate` or `parse`:

        code = Code.generate()
        code = Code.parse("lab7-a long passphrase")

    Raises:
        CodeTypo, UsageError: what `Code.parse` raises about the two parts with a '-' in between.

    """

    room: str
    secret: str

    def __post_init__(self) -> None:
        """Check both parts by the rules for a code that is typed."""
        if "-" in self.room:
            raise UsageError(f"The room of a code has no '-'. {_FORM}")
        room, secret = _parts(self.text)
        object.__setattr__(self, "room", room)
        object.__setattr__(self, "secret", secret)

    @classmethod
    def generate(
        cls,
        random_below: Callable[[int], int] = secrets.randbelow,
        *,
        words: int = limits.CODE_WORDS,
    ) -> Self:
        """Return a new code for one transfer.

        The room has 25.8 bits. The secret has 30.8 bits with five words, and 12.9 more or fewer for each word.

        Args:
            random_below: returns a number from 0 up to, not including, its argument, unpredictable and uniform. That
                this names the system's source by default is all that this folder knows of chance.
            words: how many, from 4 to 12.

        Raises:
            ValueError: `words` is out of range.

        """
        if words not in _COUNTS:
            raise ValueError(f"a code has from {limits.MIN_CODE_WORDS} to {limits.MAX_CODE_WORDS} words")
        chosen = tuple(WORDS[random_below(len(WORDS))] for _ in range(words - 1))
        extra = random_below(1 << CHECK_BITS)
        return cls(*_joined((*chosen, WORDS[extra * CHECK_MODULUS + _checksum(chosen, extra)])))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the code that a user has heard, typed, pasted or stored.

        The words of a generated code may be in capitals, and have any white space, dots, commas, underscores and dashes
        between them. Of any other code only the white space around its two parts is dropped.

        Raises:
            CodeTypo: it is a generated code with a typo.
            UsageError: it is not a code.

        """
        return cls(*_parts(text))

    @classmethod
    def choose(cls, text: str) -> Self:
        """Return the code that a user has chosen for a new transfer.

        Raises:
            UsageError: it is not a code, or has the form of generated codes without being one.

        """
        try:
            return cls.parse(text)
        except CodeTypo:
            if "-" not in text:
                raise UsageError(_NO_DASH) from None
            raise UsageError(
                "Words in this form, with dots, are reserved for codes that p2p-copy generates, and this is "
                "not one. Put spaces or dashes between the words of the secret instead."
            ) from None

    @staticmethod
    def completions(typed: str) -> list[str]:
        """Return the words of generated codes that begin with these letters, in order; none for no letters."""
        begin = typed.lower()
        first = bisect_left(WORDS, begin)
        last = bisect_left(WORDS, begin + "{")  # the character after "z"
        return list(WORDS[first:last]) if begin else []

    @property
    def text(self) -> str:
        """The whole code, for the terminal of the person who passes it on."""
        return f"{self.room}-{self.secret}"

    @property
    def is_generated(self) -> bool:
        """Whether it is a generated code, which serves for one transfer only."""
        return self.words > 0

    @property
    def words(self) -> int:
        """How many words a generated code has; 0 for any other."""
        words = _words(self.text)
        return len(words) if _is_code(words) else 0

    @property
    def similar(self) -> Code | None:
        """The generated code that was meant if this own code is one with a typo, and dashes between its words; or None.

        So is one with something else than dots and dashes, or nothing, between two words, and no other typo. An own
        code may look like that by chance, so this is a question for its user.
        """
        if self.is_generated:
            return None
        words = _words(self.text)
        known = sum(_number(word) is not None for word in words)
        meant = _meant(words) if len(words) in _COUNTS and 2 * known > len(words) else None
        return meant or _respaced(self.text)

    def __str__(self) -> str:
        """Return the whole code."""
        return self.text

    def __repr__(self) -> str:
        """Show the type and no part of the code."""
        return "<Code>"


def _parts(text: str) -> tuple[str, str]:
    """Return room and secret. Raises what `Code.parse` raises."""
    text = unicodedata.normalize("NFC", text.strip())
    if len(text) > limits.MAX_CODE:
        raise UsageError(f"The code is longer than {limits.MAX_CODE} characters. {_FORM}")
    words = _words(text)
    if _is_code(words):
        return _joined(words)
    known = sum(_number(word) is not None for word in words)
    mostly_known = 2 * known > len(words)
    if _WRITTEN.fullmatch(text) and (mostly_known or len(words) == limits.CODE_WORDS):
        raise _typo(words)
    room, separator, secret = (part.strip() for part in text.partition("-"))
    if not separator and mostly_known and known > 1:
        raise _typo(words)
    if any(unicodedata.category(character) in _UNSEEN for character in room + secret):
        raise UsageError("The code contains a control or invisible character. Type it instead of pasting it.")
    if not separator:
        if (meant := _respaced(text)) is not None:
            raise CodeTypo(_MISSPACED, meant)
        raise UsageError(_NO_DASH)
    if not room:
        raise UsageError(f"The code has no room before its '-'. {_FORM}")
    if len(secret) < limits.MIN_OWN_SECRET:
        raise UsageError(f"The secret part of the code is too short. {_FORM}")
    return room, secret


# The check of generated codes, as tuples of words.


def _words(text: str) -> _Words:
    """Return the words of a text that has nothing but words and what may stand between them; else nothing."""
    words = [word.lower() for word in _SEPARATORS.split(text) if word]
    return tuple(words) if all(word.isascii() and word.isalpha() for word in words) else ()


def _joined(words: _Words) -> tuple[str, str]:
    """Return room and secret."""
    return ".".join(words[:_ROOM_WORDS]), ".".join(words[_ROOM_WORDS:])


def _checksum(words: _Words, extra: int) -> int:
    data = "-".join(_joined(words)).encode() + bytes((extra,))
    return int.from_bytes(hashlib.sha256(_CHECK_LABEL + data).digest(), "big") % CHECK_MODULUS


def _number(word: str) -> int | None:
    at = bisect_left(WORDS, word)
    return at if at < len(WORDS) and WORDS[at] == word else None


def _is_code(words: _Words) -> bool:
    """Return whether these are the words of a generated code."""
    return len(words) in _COUNTS and all(_number(word) is not None for word in words) and _is_valid(words)


def _is_valid(words: _Words) -> bool:
    """Return whether the last word is right for the others."""
    number = _number(words[-1])
    if number is None:
        return False
    extra, check = divmod(number, CHECK_MODULUS)
    return extra < 1 << CHECK_BITS and check == _checksum(words[:-1], extra)


def _typo(words: _Words) -> CodeTypo:
    """Return the error about words that are no code."""
    if len(words) not in _COUNTS:
        return CodeTypo(_WRONG_COUNT, _respaced(" ".join(words)))
    unknown = [_ORDINALS[at] for at, word in enumerate(words) if _number(word) is None]
    if len(unknown) > 1:
        what = f"the {', '.join(unknown[:-1])} and {unknown[-1]} words are misspelt"
    elif unknown:
        what = f"the {unknown[0]} word is misspelt"
    else:
        what = "its words do not belong together, so one is wrong or missing, or two are swapped"
    return CodeTypo(
        f"The code has a typo: {what}. Compare it with the one that the sender shows.",
        _meant(words) or _respaced(" ".join(words)),
    )


# The suggestion: the valid code that takes the fewest edits from what was typed, if there is exactly one.


def _meant(words: _Words) -> Code | None:
    fitting = [(edits, repaired) for edits, repaired in _repairs(words) if _is_valid(repaired)]
    fewest = min((edits for edits, _ in fitting), default=0)
    nearest = {repaired for edits, repaired in fitting if edits == fewest}
    return Code(*_joined(nearest.pop())) if len(nearest) == 1 else None


def _respaced(text: str) -> Code | None:
    """Return the generated code whose words a text has, but with something else, or nothing, between two of them."""
    words = tuple(_LETTERS.findall(text.lower()))
    fitting = {words} if _is_code(words) else set()
    if len(words) + 1 in _COUNTS:
        for at, word in enumerate(words):
            if _number(word) is not None or len(word) > 2 * _LONGEST:
                continue
            for cut, skipped in product(range(1, len(word)), (0, 1)):  # a letter may stand there for the dot
                divided = (*words[:at], word[:cut], word[cut + skipped :], *words[at + 1 :])
                if _is_code(divided):
                    fitting.add(divided)
    return Code(*_joined(fitting.pop())) if len(fitting) == 1 else None


def _repairs(words: _Words) -> Iterator[tuple[int, _Words]]:
    """Yield possible corrections, each with its number of edits. So few that a wrong one rarely fits the checksum."""
    unknown = [at for at, word in enumerate(words) if _number(word) is None]
    if unknown:
        if len(unknown) > _MOST_UNKNOWN:
            return
        reach = 2 if len(unknown) == 1 else 1
        choices = (_near(word, reach) if at in unknown else [(0, word)] for at, word in enumerate(words))
        for chosen in product(*choices):
            yield sum(edits for edits, _ in chosen), tuple(word for _, word in chosen)
    else:
        for at, word in enumerate(words):
            for edits, other in _near(word, 1):
                yield edits, (*words[:at], other, *words[at + 1 :])
        for at in range(len(words) - 1):
            yield 1, (*words[:at], words[at + 1], words[at], *words[at + 2 :])


def _near(typed: str, most: int) -> list[tuple[int, str]]:
    """Return the words at no more than `most` edits from what was typed, with the number of edits."""
    letters = set(typed)
    return [
        (edits, word)
        for word in WORDS
        # One edit changes the length by one and the set of letters by two at most: this leaves few words.
        if abs(len(word) - len(typed)) <= most and len(letters.symmetric_difference(word)) <= 2 * most
        if (edits := _edits(typed, word)) <= most
    ]


def _edits(typed: str, word: str) -> int:
    """Count letters to add, drop, replace or swap with their neighbour (optimal string alignment)."""
    above: list[int] = []
    row = list(range(len(word) + 1))
    for i, x in enumerate(typed, 1):
        above, last, row = row, above, [i]
        for j, y in enumerate(word, 1):
            edits = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y))
            if i > 1 and j > 1 and x == word[j - 2] and y == typed[i - 2]:
                edits = min(edits, last[j - 2] + 1)
            row.append(edits)
    return row[-1]
