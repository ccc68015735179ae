"""The commands: their words, options and help. What they do is in the modules that they import when called.

Only cyclopts is imported here, so that `--help` and a mistyped option are answered at once.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from p2p_copy.cli import limits
from p2p_copy.cli.options.arguments import with_serve_value, with_standard_input
from p2p_copy.cli.options.client import (
    NO_CLIENT_ARGUMENTS,
    NO_RECEIVE_ARGUMENTS,
    NO_SEND_ARGUMENTS,
    NO_TRANSFER_ARGUMENTS,
    ClientArguments,
    ReceiveArguments,
    SendArguments,
    TransferArguments,
)
from p2p_copy.cli.options.config_file import from_file
from p2p_copy.cli.options.durations import DURATION
from p2p_copy.cli.options.relay import DEFAULT_LIMITS, RelayLimits
from p2p_copy.cli.options.relay_log import DEFAULT_LOG, RelayLog
from p2p_copy.cli.options.unused import refuse_unused
from p2p_copy.cli.ui.errors import explain
from p2p_copy.cli.ui.help import Printed, TwoColumns
from p2p_copy.cli.ui.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Sequence


def _version() -> str:
    from p2p_copy.version import FULL_NAME

    return FULL_NAME


app = App(
    name="p2p-copy",
    help="Copy files between two machines that can both only reach out, encrypted from end to end.",
    help_epilogue="Exit codes, the configuration file and examples: docs/cli.md.",
    version=_version,
    config=[refuse_unused, from_file],
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # it would end us without a word
    help_format="plaintext",
    help_formatter=TwoColumns(),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; never raises.

    Args:
        argv: the words after the program's name; those of this process if None.

    """
    words = list(sys.argv[1:] if argv is None else argv)
    terminal = Terminal.standard()
    try:
        exit_code = _run(with_standard_input(with_serve_value(words)), terminal)
        if exit_code == 0:
            terminal.finish()
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:
        exit_code = explain(error, terminal)
    with suppress(KeyboardInterrupt):  # it is all over, and this is what the person wants
        terminal.flush()
    return exit_code


def _run(words: Sequence[str], terminal: Terminal) -> int:
    """Run a command; what the library prints, such as help, is its result."""
    printed = Printed()
    exit_code: int | None = app(words, exit_on_error=False, print_error=False, console=printed.console)
    if text := printed.text():
        terminal.result(text)
    return exit_code or 0


@app.command(usage="Usage: p2p-copy send PATH... [OPTIONS]")
def send(
    *words: Annotated[
        str, Parameter(name="PATH", help="Files and directories to send; or - alone, for standard input.")
    ],
    transfer: TransferArguments = NO_TRANSFER_ARGUMENTS,
    client: ClientArguments = NO_CLIENT_ARGUMENTS,
    sending: SendArguments = NO_SEND_ARGUMENTS,
) -> int:
    """Send files and directories.

    Prints a new code and the command for the other machine, unless a code is given.
    Also: p2p-copy send wss://HOST:PORT CODE PATH...
    """
    from p2p_copy.cli.commands.send import send as work

    return work(words, transfer, client, sending)


@app.command(usage="Usage: p2p-copy receive [CODE] [OPTIONS]")
def receive(
    *words: Annotated[
        str, Parameter(name="CODE", help="The code that the sender shows. Asked for if it is not given.")
    ],
    transfer: TransferArguments = NO_TRANSFER_ARGUMENTS,
    client: ClientArguments = NO_CLIENT_ARGUMENTS,
    receiving: ReceiveArguments = NO_RECEIVE_ARGUMENTS,
) -> int:
    """Receive what a sender with the same code sends.

    Also: p2p-copy receive wss://HOST:PORT CODE --out DIR
    """
    from p2p_copy.cli.commands.receive import receive as work

    return work(words, transfer, client, receiving)


@app.command(usage="Usage: p2p-copy resume [ID] [OPTIONS]")
def resume(
    id_: Annotated[
        str | None,
        Parameter(name="ID", help="Which transfer; the first letters do. All are listed without it."),
    ] = None,
    /,
    *,
    client: ClientArguments = NO_CLIENT_ARGUMENTS,
) -> int:
    """List the transfers that were begun here and are not done, or go on with one.

    To start the same command again does the same. What is sent or received, and through which relay, is
    as it was when the transfer was begun.
    """
    from p2p_copy.cli.commands.resume import resume as work

    return work(id_, client)


@app.command(usage="Usage: p2p-copy forget ID...")
def forget(
    *ids: Annotated[str, Parameter(name="ID", help="Which transfers; the first letters do.")],
    state_dir: Annotated[
        str | None, Parameter(metavar="DIR", help="Where unfinished transfers are remembered.")
    ] = None,
) -> int:
    """Forget unfinished transfers, and remove what they have left half done. Complete files stay."""
    from p2p_copy.cli.commands.resume import forget as work

    return work(ids, state_dir)


@app.command(usage="Usage: p2p-copy run-relay-server HOST PORT [HOST PORT]... [OPTIONS]")
def run_relay_server(
    *where: Annotated[
        str,
        Parameter(
            name="HOST PORT",
            help="Address or name to listen at, 0.0.0.0 for all of IPv4, :: for all of IPv6; and the TCP port, 0 "
            "for one that is free. In place of a pair: unix:PATH, for a proxy on this machine.",
        ),
    ],
    tls: Annotated[bool, Parameter(help="Speak TLS, or leave that to a proxy in front.")] = True,
    certfile: Annotated[
        str | None, Parameter(metavar="FILE", help="Certificate with its chain, PEM.")
    ] = None,
    keyfile: Annotated[
        str | None, Parameter(metavar="FILE", help="The certificate's private key, PEM.")
    ] = None,
    reload_certs: Annotated[
        Literal["auto", "signal"],
        Parameter(help="Use a renewed certificate when its files change, and on SIGHUP; or on SIGHUP only."),
    ] = "auto",
    drain: Annotated[
        float,
        DURATION,
        Parameter(help="How long transfers may go on after SIGTERM."),
    ] = limits.RELAY_DRAIN,
    limit: RelayLimits = DEFAULT_LIMITS,
    log: RelayLog = DEFAULT_LOG,
    admin: Annotated[
        str | None,
        Parameter(
            metavar="ADDR",
            help="Serve status, metrics and orders at this address of this machine: 127.0.0.1:PORT or unix:/PATH.",
        ),
    ] = None,
    config: Annotated[
        str | None, Parameter(metavar="FILE", help="Configuration file (TOML), table [run-relay-server].")
    ] = None,
) -> int:
    """Run a relay until SIGTERM or Ctrl-C; SIGHUP reloads certificate and tokens.

    A relay pairs senders and receivers and passes on what it cannot read. It stores nothing.
    """
    from p2p_copy.cli.commands.relay_server import run_relay_server as work

    return work(
        where,
        tls=tls,
        certfile=certfile,
        keyfile=keyfile,
        watch_certificates=reload_certs == "auto",
        drain=drain,
        limit=limit,
        log=log,
        admin=admin,
    )


@app.command(usage="Usage: p2p-copy relay-token NAME")
def relay_token(
    name: Annotated[str, Parameter(help="Whom it is for: letters, digits and . _ @ -, up to 64.")], /
) -> int:
    """Make an access token for a relay, and the line for its --tokens-file.

    The token is for the client, the line for the relay. It holds a hash, so it gives nothing away.
    """
    from p2p_copy.cli.commands.relay_token import relay_token as work

    return work(name)


@app.command(usage="Usage: p2p-copy relay-admin ADDR ORDER")
def relay_admin(
    address: Annotated[str, Parameter(name="ADDR", help="What the relay was given as --admin.")],
    order: Annotated[
        str,
        Parameter(name="ORDER", help="status, pairings, drain, reload, end NUMBER or set NAME VALUE."),
    ],
    /,
    *words: Annotated[str, Parameter(name="WORD", show=False)],
) -> int:
    """Ask a relay on this machine how it is, or give it an order.

    set NAME VALUE changes a limit until the relay is started again; NAME is its option without dashes.
    """
    from p2p_copy.cli.commands.relay_admin import relay_admin as work

    return work(address, order, words)


@app.command(usage="Usage: p2p-copy verify RECEIPT DIR [OPTIONS]")
def verify(
    receipt: Annotated[str, Parameter(name="RECEIPT", help="The receipt of a transfer.")],
    directory: Annotated[str, Parameter(name="DIR", help="The directory that it was received into.")],
    /,
    *,
    times: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="Compare times, permission bits and special bits as well."
        ),
    ] = False,
    preserved: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Compare hard links, owners and extended attributes as well, if --preserve kept them.",
        ),
    ] = False,
    complete: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="What the receipt says was not delivered is a difference as well.",
        ),
    ] = False,
    strict: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="What the receipt does not name is a difference."),
    ] = False,
    quiet: Annotated[
        bool, Parameter(negative="", show_default=False, help="Say nothing but differences and errors.")
    ] = False,
) -> int:
    """Check whether all that a transfer brought is still there, unchanged.

    A receipt is what send or receive wrote with --receipt. No relay and no network are needed.
    """
    from p2p_copy.cli.commands.verify import verify as work

    return work(
        receipt, directory, times=times, preserved=preserved, complete=complete, strict=strict, quiet=quiet
    )


@app.command(usage="Usage: p2p-copy demo [DIR]")
def demo(
    directory: Annotated[
        str | None, Parameter(name="DIR", help="What to copy; p2p-copy's own files if it is not named.")
    ] = None,
    /,
) -> int:
    """Show that p2p-copy works here: relay, sender and receiver, three processes on this machine.

    Copies a directory through them into a temporary one, compares every byte and removes the copy.
    """
    from p2p_copy.cli.commands.demo import demo as work

    return work(directory)
