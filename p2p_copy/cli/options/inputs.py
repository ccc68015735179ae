"""Finds the relay, the code and the token: on the command line, in a file, in the environment, or by asking.

Every user of the machine can read arguments (`ps`), so there are other ways to give a code. In order: argument,
`--code`, `--code-file`, `P2P_COPY_CODE`, the same options in the configuration file (which `config_file` uses only if
none of the former is given), a question at the terminal.
"""

from __future__ import annotations

import itertools
import os
import sys
from typing import TYPE_CHECKING, Final

from p2p_copy import Code, CodeTypo, RelayAccess, pasted
from p2p_copy.cli import limits
from p2p_copy.cli.options.arguments import STANDARD
from p2p_copy.cli.options.client import CODE_VARIABLE, SERVER_VARIABLE, TOKEN_VARIABLE, GivenProxy
from p2p_copy.cli.ui import code_line
from p2p_copy.errors import UsageError
from p2p_copy.files.stdio import first_line
from p2p_copy.transport.address import parse_address
from p2p_copy.transport.proxy_address import DIRECT, named_proxy, parse_proxy
from p2p_copy.value import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.cli.options.client import AccessArguments, ClientArguments, TransferArguments
    from p2p_copy.cli.ui.terminal import Terminal

_MOST_READ: Final = 4096
"""Bytes of a code or token file that are read: enough for one line in any encoding."""


def relays_of(word: str | None, options: Sequence[str]) -> tuple[str, ...]:
    """Return the relays' addresses: the first word of the command line, else the options, each once.

    Raises:
        UsageError: there is none, or one is no address of a relay.

    """
    addresses = tuple(dict.fromkeys(filter(None, map(pasted.value, (word,) if word else options))))
    if not addresses:
        raise UsageError(
            f"Which relay? Name it with --server wss://HOST:443, in the environment ({SERVER_VARIABLE}) or "
            "in the configuration file (server = ...). Without one, p2p-copy send --serve is its own relay."
        )
    for address in addresses:
        parse_address(address)
    refuse_needless_tls_options(addresses)
    return addresses


def refuse_needless_tls_options(relays: Sequence[str]) -> None:
    """Refuse `--ca-file` and `--pin` if all relays are reached without TLS. Defaults of the configuration are ignored.

    Raises:
        UsageError: the command line of this process has the option.

    """
    words = itertools.takewhile(lambda word: word != "--", sys.argv[1:])
    given = [option for word in words if (option := word.split("=")[0]) in ("--ca-file", "--pin")]
    if given and not any(map(_has_tls, relays)):
        raise UsageError(f"{given[0]} has no effect here: with ws:// there is no certificate. Leave it out.")


def _has_tls(relay: str) -> bool:
    return not relay.lower().startswith("ws://")


def access_to(relays: Sequence[str], client: AccessArguments, terminal: Terminal) -> tuple[RelayAccess, ...]:
    """Return how to reach each relay: as the options say, and of several each as its own table says.

    Raises:
        UsageError: a token or a proxy cannot be used.

    """
    token = access_token(client.token_file)
    if client.proxy is not None and not client.proxy.is_default:
        _warn_of_password(client.proxy.text, terminal)
    return tuple(_access(relay, client, token, is_only=len(relays) == 1) for relay in relays)


def _access(relay: str, client: AccessArguments, token: str | None, *, is_only: bool) -> RelayAccess:
    own = client.of_relays.tables.get(relay, {})
    given = GivenProxy(own["proxy"], is_default=True) if "proxy" in own else client.proxy
    pin = own.get("pin", client.pin)
    return RelayAccess(
        relay,
        ca_file=own.get("ca-file", client.ca_file),
        token=access_token(own["token-file"]) if "token-file" in own else token,
        proxy=_proxy_for(relay, given),
        variables=os.environ,
        pin=pin if is_only or _has_tls(relay) else None,  # one of several is for those that have a key
    )


def _warn_of_password(proxy: str, terminal: Terminal) -> None:
    """Tell the user if the argument has a password, which others can read.

    Raises:
        UsageError: the proxy's address has the wrong form.

    """
    named = parse_proxy(proxy)
    if named is not None and named.password:
        terminal.say(
            "The proxy's password is an argument, so other users of this machine can read it. Better name "
            "the proxy in the environment (HTTPS_PROXY) or in the configuration file (proxy = ...)."
        )


def _proxy_for(relay: str, given: GivenProxy | None) -> str | None:
    """Return the proxy for a client of this relay: one for `--proxy`, or for the configuration file if the environment
    names none; None if the client is to ask the environment.

    Raises:
        UsageError: the proxy's address has the wrong form.

    """
    if given is not None and not given.is_default:
        return given.text
    default = "" if given is None else given.text
    named = named_proxy(parse_address(relay), os.environ, default)
    if named is None:
        return DIRECT
    parse_proxy(*named)
    return None if named.variable else named.text


def written_code(word: str | None, option: str | None, file: str | None) -> str | None:
    """Return the text of the code that the user has given; None if there is none.

    Raises:
        UsageError: there are two, or the file cannot be read or is empty.

    """
    if word and (option or file):
        raise UsageError("The code is given twice. After the relay's URL the next word is the code.")
    if option and file:
        raise UsageError("The code is given twice: with --code and with --code-file.")
    if text := word or option:
        return pasted.value(text)
    if file:
        return first_line_of(file, "code")
    return pasted.value(os.environ.get(CODE_VARIABLE, "")) or None


def warn_of_arguments(code: str, terminal: Terminal, *, otherwise: str) -> None:
    """Warn if the code is an argument of this process, which every user of this machine can read."""
    if any(code in word for word in sys.argv[1:]):
        terminal.say(
            "The code is an argument, so other users of this machine can read it. On a shared machine use --code-file "
            f"or {CODE_VARIABLE}, or {otherwise}."
        )


def access_token(file: str | None) -> str | None:
    """Return the access token from a file, else from the environment; None if there is none.

    Raises:
        UsageError: the file cannot be read, is empty, or contains no token.

    """
    token = first_line_of(file, "token") if file else pasted.value(os.environ.get(TOKEN_VARIABLE, ""))
    if len(token) > limits.MAX_TOKEN or not token.isprintable():
        raise UsageError("The access token is too long or has odd characters. Is it the right file?")
    return token or None


def first_line_of(file: str, what: str) -> str:
    """Return the first line of a file with a secret, or of standard input; `what` names it in a sentence.

    Raises:
        UsageError: the file cannot be read, or is empty.

    """
    try:
        if file == STANDARD:
            text = pasted.decode(first_line(_MOST_READ), cut=True)
        else:
            with open(file, "rb") as stream:
                text = pasted.decode(stream.read(_MOST_READ), cut=True)
    except OSError as error:
        raise UsageError(f"The {what} file '{file}' cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"The {what} file '{file}' is not UTF-8 text.") from error
    line = pasted.first_value(text)
    if not line:
        raise UsageError(f"The {what} file '{file}' is empty: its first line is the {what}.")
    return line


def refuse_to_ask(terminal: Terminal) -> None:
    """Refuse to receive without the question that a user at this terminal would be asked.

    Raises:
        UsageError: nothing may be asked, but there is a user.

    """
    if terminal.has_user and (why := terminal.why_unasked):
        raise UsageError(
            f"Whether to receive is a question at a terminal, but {why}. Pass --yes to receive whatever the sender "
            "has."
        )


def check_that_words_can_be_compared(terminal: Terminal, *, wanted: bool) -> None:
    """Check, before anything starts, that there is a user to ask, if that is `wanted`.

    Raises:
        UsageError: `--verify` was given, with this run or an earlier one, and nothing can be asked.

    """
    if wanted and (why := terminal.why_unasked):
        raise UsageError(f"--verify asks a question, but {why}.")


def for_pipe(transfer: TransferArguments) -> TransferArguments:
    """Return the arguments of a transfer through a pipe: without patterns, which are about files.

    `unused` has refused patterns on the command line, so these come from the configuration file.

    Raises:
        UsageError: the configuration file asks for a dry run, which a pipe cannot have.

    """
    if transfer.dry_run:
        raise UsageError(
            "There is no dry run of a transfer through a pipe. Remove dry-run from the configuration file."
        )
    return replace(transfer, only=(), exclude=())


def reserve_standard_input(transfer: TransferArguments, client: ClientArguments, terminal: Terminal) -> None:
    """Make sure that standard input is only data; tell a user at a terminal how to end it.

    Raises:
        UsageError: the code or the token is to be read from standard input.

    """
    if STANDARD in {transfer.code_file, client.token_file}:
        raise UsageError("Standard input is sent, so neither the code nor the token can be read from it.")
    if sys.stdin and sys.stdin.isatty():
        end = "Ctrl-Z and Enter" if sys.platform == "win32" else "Ctrl-D on a line of its own"
        terminal.say(f"What you type here is sent. To end it, press {end}.")


def ask_for_code(terminal: Terminal) -> Code:
    """Ask the user for the code that the sender shows; a mistyped generated code is noticed, and asked for again.

    Raises:
        UsageError: nothing can be asked, or no code was typed.

    """
    if why := terminal.why_unasked:
        raise UsageError(
            f"Which code? {why[0].upper()}{why[1:]}, so give it in a file (--code-file FILE, or - for "
            f"standard input), in the environment ({CODE_VARIABLE}) or as an argument: p2p-copy receive CODE"
        )
    suggestion: Code | None = None
    own = ""
    for tries_left in reversed(range(limits.CODE_TRIES)):
        question = "Code: " if suggestion is None else f"Code (Enter for {suggestion.text}): "
        answer = code_line.ask(terminal, question)
        if not answer:
            break
        typed = pasted.value(answer)
        if suggestion is not None and not typed:
            return suggestion
        try:
            code = Code.parse(typed)
        except UsageError as error:
            if not tries_left:
                raise
            terminal.error(str(error))
            suggestion = error.suggestion if isinstance(error, CodeTypo) else None
        else:
            suggestion = code.similar
            if suggestion is None or code.text == own or not tries_left:
                return code
            own = code.text
            terminal.error("This looks like a generated code with a typo. If it is your own, type it again.")
        if suggestion is not None:
            terminal.error(f"Did you mean {suggestion.text}?")
    raise UsageError("No code was typed.")
