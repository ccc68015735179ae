"""Exceptions become one sentence and one exit code."""

from __future__ import annotations

import errno
import io
import signal

import pytest
import trio

import p2p_copy
from p2p_copy import errors
from p2p_copy.cli.ui.errors import Interrupted, explain, main_error
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import P2PCopyError, RelayLost, SystemFailed, WrongCode
from p2p_copy.peer.failures import plain_errors
from p2p_copy.protocol.code import Code, CodeTypo
from tests.cli.options.test_inputs import Tty

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, P2PCopyError)]


def explained(error: BaseException, err: io.StringIO | None = None) -> tuple[int, str]:
    err = err or io.StringIO()
    return explain(error, Terminal(io.StringIO(), err)), err.getvalue()


@pytest.mark.fault(79, "table")
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_ours_gives_its_sentence_and_its_exit_code(kind: type[P2PCopyError]) -> None:
    code, said = explained(kind("What happened."))
    assert (code, said) == (kind.exit_code, "p2p-copy: What happened.\n")


@pytest.mark.fault(79, "table")
def test_exit_codes_differ() -> None:
    codes = [kind.exit_code for kind in KINDS if "exit_code" in vars(kind)]
    assert len(codes) == len(set(codes))


def test_a_group_is_about_the_first_error_of_ours_in_it() -> None:
    ours = WrongCode()
    group = BaseExceptionGroup("", [OSError(), ExceptionGroup("", [ValueError(), ours, RelayLost()])])
    assert main_error(group) is ours
    assert explained(group)[0] == WrongCode.exit_code


def test_anything_else_is_called_a_bug_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = explained(ExceptionGroup("", [ZeroDivisionError("secret")]))
    assert code == 1
    assert "This is a bug in p2p-copy (ZeroDivisionError)" in said
    assert len(said.splitlines()) == 1
    assert "secret" not in said
    monkeypatch.setenv("P2P_COPY_DEBUG", "1")
    assert "ZeroDivisionError: secret" in explained(ZeroDivisionError("secret"))[1]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Interrupted(signal.SIGINT), 130),
        (Interrupted(signal.SIGTERM), 143),
        (KeyboardInterrupt(), 130),
        (BaseExceptionGroup("", [KeyboardInterrupt(), trio.BrokenResourceError()]), 130),
        (BrokenPipeError(), 141),
    ],
)
def test_signals_have_the_exit_codes_that_shells_give_them(error: BaseException, code: int) -> None:
    assert explained(error)[0] == code


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.EMFILE, "x"), "ulimit -n"),
        (OSError(errno.ENFILE, "x"), "All programs on this machine"),
        (OSError(errno.ENOMEM, "x"), "no more memory"),
        (MemoryError(), "no more memory"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (ExceptionGroup("", [trio.BrokenResourceError(), OSError(errno.EMFILE, "x")]), "ulimit -n"),
        (PermissionError(errno.EACCES, "Not allowed", "/a/secret"), "This machine refuses something"),
    ],
)
def test_a_refusal_of_the_system_is_no_bug(error: BaseException, sentence: str) -> None:
    if isinstance(error, ExceptionGroup):
        with pytest.raises(SystemFailed) as raised, plain_errors():
            raise error
        error = raised.value
    code, said = explained(error)
    assert code == SystemFailed.exit_code
    assert sentence in said
    assert len(said.splitlines()) == 1
    assert "bug" not in said
    assert "secret" not in said


def test_a_suggestion_is_shown_at_a_terminal_only() -> None:
    typo = CodeTypo(suggestion=Code("room", "the right secret"))
    assert "the right secret" not in explained(typo)[1]
    assert "Did you mean room-the right secret?" in explained(typo, Tty())[1]


def test_each_error_says_by_its_class_whose_side_failed() -> None:
    """But for two: either side may be the cause of a transfer that is not whole."""
    branches = (p2p_copy.RelayError, p2p_copy.PeerError, p2p_copy.LocalError)
    sides = {kind: [branch for branch in branches if issubclass(kind, branch)] for kind in KINDS}
    del sides[P2PCopyError]
    assert {kind for kind, found in sides.items() if len(found) != 1} == {
        errors.PartialTransfer,
        errors.PipeFailed,
    }
