"""Where the relay and the code come from: the command line, a file, the environment, a person.

An argument is readable by every user of the machine (`ps`), so a code has four other ways in. In order:
argument, `--code`, `--code-file`, `P2P_COPY_CODE`, the same options in the configuration file (`config`
lets them pass only if none of the former is there), a question at the terminal.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from p2p_copy import pasted
from p2p_copy.cli import limits
from p2p_copy.cli.environment import CODE_VARIABLE, SERVER_VARIABLE, TOKEN_VARIABLE
from p2p_copy.cli.options.arguments import STANDARD
from p2p_copy.errors import UsageError
from p2p_copy.files.stdio import first_line
from p2p_copy.protocol import code as codes
from p2p_copy.protocol.code import CodeTypo
from p2p_copy.transport.address import parse_address

if TYPE_CHECKING:
    from p2p_copy.cli.options.client import ClientArguments, TransferArguments
    from p2p_copy.cli.ui.terminal import Terminal
    from p2p_copy.protocol.code import Code

_MOST_READ: Final = 4096
"""Bytes or characters of a file that are looked at: a code or token, however it is encoded, and what is around it."""


def relay_of(word: str | None, option: str | None) -> str:
    """Return the relay's address: that of the command line's word, else the option's.

    Raises:
        UsageError: there is none, or it is no address of a relay.

    """
    address = pasted.value(word or option or "")
    if not address:
        raise UsageError(
            f"Which relay? Name it with --server wss://HOST:443, in the environment ({SERVER_VARIABLE}) or "
            "in the configuration file (server = ...). Without one, p2p-copy send --serve is its own relay."
        )
    parse_address(address)
    return address


def written_code(word: str | None, option: str | None, file: str | None) -> str | None:
    """Return the text of the code as somebody wrote it down, None if nobody did.

    Raises:
        UsageError: there are two, or the file cannot be read or is empty.

    """
    if word and (option or file):
        raise UsageError("The code is given twice. After a relay's URL the next word is the code.")
    if option and file:
        raise UsageError("The code is given twice: with --code and with --code-file.")
    if text := word or option:
        return pasted.value(text)
    if file:
        return _first_line(file, "code")
    return pasted.value(os.environ.get(CODE_VARIABLE, "")) or None


def warn_of_arguments(code: str, terminal: Terminal, *, otherwise: str) -> None:
    """Say so if the code stands where every user of this machine can read it, and what to do otherwise."""
    if any(code in word for word in sys.argv[1:]):
        terminal.say(
            "The code is an argument, which other users of this machine can read. On a shared machine use --code-file "
            f"or {CODE_VARIABLE}, or {otherwise}."
        )


def access_token(file: str | None) -> str | None:
    """Return the access token from a file, else from the environment; None if there is none. Never an argument.

    Raises:
        UsageError: the file cannot be read or is empty, or what it holds is no token.

    """
    token = _first_line(file, "token") if file else pasted.value(os.environ.get(TOKEN_VARIABLE, ""))
    if len(token) > limits.MAX_TOKEN or not token.isprintable():
        raise UsageError("The access token is too long or has odd characters. Is it the right file?")
    return token or None


def _first_line(file: str, what: str) -> str:
    try:
        if file == STANDARD:
            text = pasted.decode(first_line(_MOST_READ), cut=True)
        else:
            with open(file, "rb") as stream:
                text = pasted.decode(stream.read(_MOST_READ), cut=True)
    except OSError as error:
        raise UsageError(f"The {what} file cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"The {what} file is not UTF-8 text.") from error
    line = pasted.first_value(text)
    if not line:
        raise UsageError(f"The {what} file is empty: its first line is the {what}.")
    return line


def somebody_is_there(terminal: Terminal) -> bool:
    """Return whether there is a person who can be asked."""
    return bool(sys.stdin and sys.stdin.isatty() and terminal.is_for_eyes)


def of_a_pipe(which: TransferArguments) -> TransferArguments:
    """Return the options of a transfer through a pipe: without patterns, which are about files.

    The command line has none (`unused` has refused them there), so they are defaults of the configuration file.

    Raises:
        UsageError: the configuration file asks for a dry run, and there is none of a pipe.

    """
    if which.dry_run:
        raise UsageError(
            "There is no dry run of what goes through a pipe. Take dry-run out of the configuration file."
        )
    return replace(which, only=(), exclude=())


def leave_standard_input_alone(
    which: TransferArguments, options: ClientArguments, terminal: Terminal
) -> None:
    """See to it that standard input is data and nothing else; tell a person what is expected there.

    Raises:
        UsageError: something else is to be read from there.

    """
    if STANDARD in {which.code_file, options.token_file}:
        raise UsageError("Standard input is what is sent, so neither code nor token can be read from there.")
    if sys.stdin and sys.stdin.isatty():
        end = "Ctrl-Z and Enter" if sys.platform == "win32" else "Ctrl-D on a line of its own"
        terminal.say(f"What you type here is sent; {end} ends it.")


def ask_for_code(terminal: Terminal) -> Code:
    """Ask a person for the code that the sender shows. A typo costs nothing: it is noticed here.

    Raises:
        UsageError: there is nobody to ask, or no code was typed.

    """
    if not somebody_is_there(terminal):
        raise UsageError(
            "Which code? There is no terminal to ask at, so give it in a file (--code-file FILE, or - for "
            f"standard input), in the environment ({CODE_VARIABLE}) or as an argument: p2p-copy receive CODE"
        )
    suggestion: Code | None = None
    for tries_left in reversed(range(limits.CODE_TRIES)):
        question = "Code: " if suggestion is None else f"Code (Enter for {suggestion.text}): "
        answer = terminal.ask(question)
        if not answer:
            break
        if suggestion is not None and not answer.strip():
            return suggestion
        try:
            return codes.parse(pasted.value(answer))
        except UsageError as error:
            if not tries_left:
                raise
            terminal.error(str(error))
            suggestion = error.suggestion if isinstance(error, CodeTypo) else None
            if suggestion is not None:
                terminal.error(f"Did you mean {suggestion.text} ?")
    raise UsageError("No code was typed.")
