"""Declares the commands with their arguments, options and help. Their work is in modules imported when they are called.

Nothing slow but cyclopts is imported here, so that `--help` and a mistyped option are answered at once.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from p2p_copy.cli.options import completers
from p2p_copy.cli.options.arguments import wants_details, wants_json, with_serve_value, with_standard_input
from p2p_copy.cli.options.client import (
    JSON,
    NO_CLIENT_ARGUMENTS,
    NO_RECEIVE_ARGUMENTS,
    NO_SEND_ARGUMENTS,
    NO_TRANSFER_ARGUMENTS,
    ClientArguments,
    ReceiveArguments,
    SendArguments,
    TransferArguments,
)
from p2p_copy.cli.options.config_defaults import from_file
from p2p_copy.cli.options.groups import ABOUT, COMPARED, OPTIONS, OUTPUT, RELAYS, SETUP, TRANSFERS
from p2p_copy.cli.options.unused import refuse_unused
from p2p_copy.cli.options.values import FLAG, PATH, PathText
from p2p_copy.cli.ui.errors import explain
from p2p_copy.cli.ui.help import Commands, Printed, TwoColumns
from p2p_copy.cli.ui.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Sequence


def _version() -> str:
    from p2p_copy.version import FULL_NAME

    return FULL_NAME


app = Commands(
    name="p2p-copy",
    help="Copy files, encrypted from end to end, between two machines that can only make outgoing connections.",
    version=_version,
    version_flags=("--version", "-V"),
    group_commands=OPTIONS,
    config=[refuse_unused, from_file],
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # cyclopts would end the process without a message
    help_format="plaintext",
    help_formatter=TwoColumns(),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; never raises.

    Args:
        argv: the words after the program's name; None for those of this process.

    """
    words = list(sys.argv[1:] if argv is None else argv)
    terminal = Terminal.standard(verbose=wants_details(words))
    try:
        exit_code = _run(with_standard_input(with_serve_value(words)), terminal)
        if exit_code == 0:
            terminal.finish()
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:
        exit_code = explain(error, terminal)
        if wants_json(words):
            from p2p_copy.cli.ui.json_lines import write_error

            write_error(error, terminal)
    with suppress(KeyboardInterrupt):  # the work is done, and the process ends anyway
        terminal.flush()
    return exit_code


def _run(words: Sequence[str], terminal: Terminal) -> int:
    """Run a command; write what the library prints, such as help, as its result."""
    printed = Printed()
    exit_code: int | None = app(words, exit_on_error=False, print_error=False, console=printed.console)
    if text := printed.text():
        terminal.result(text)
    return exit_code or 0


@app.command(group=TRANSFERS, sort_key=1, usage="Usage: p2p-copy send PATH... [OPTIONS]")
def send(
    *words: Annotated[
        PathText,
        PATH,
        Parameter(name="PATH", help="Files and directories to send; or - alone for standard input."),
    ],
    transfer: TransferArguments = NO_TRANSFER_ARGUMENTS,
    client: ClientArguments = NO_CLIENT_ARGUMENTS,
    sending: SendArguments = NO_SEND_ARGUMENTS,
) -> int:
    """Send files and directories.

    Prints a new code, unless one is given, and the command for the other machine.
    Also: p2p-copy send wss://HOST:PORT CODE PATH...
    """
    from p2p_copy.cli.commands.send import send as work

    return work(words, transfer, client, sending)


@app.command(group=TRANSFERS, sort_key=2, usage="Usage: p2p-copy receive [CODE] [OPTIONS]")
def receive(
    *words: Annotated[
        str, Parameter(name="CODE", help="The code that the sender shows; asked for if not given.")
    ],
    transfer: TransferArguments = NO_TRANSFER_ARGUMENTS,
    client: ClientArguments = NO_CLIENT_ARGUMENTS,
    receiving: ReceiveArguments = NO_RECEIVE_ARGUMENTS,
) -> int:
    """Receive files from the sender with the same code.

    Also: p2p-copy receive wss://HOST:PORT CODE --out DIR
    """
    from p2p_copy.cli.commands.receive import receive as work

    return work(words, transfer, client, receiving)


@app.command(group=TRANSFERS, sort_key=3, usage="Usage: p2p-copy resume [ID] [OPTIONS]")
def resume(
    id_: Annotated[
        str | None,
        Parameter(
            name="ID",
            completer=completers.transfers,
            help="Which transfer: its ID, or the first letters of it. Without it all are listed.",
        ),
    ] = None,
    /,
    *,
    client: ClientArguments = NO_CLIENT_ARGUMENTS,
) -> int:
    """List the unfinished transfers of this machine, or resume one.

    Running the same command again also resumes. Files, options and relay are those of the first run.
    """
    from p2p_copy.cli.commands.resume import resume as work

    return work(id_, client)


@app.command(group=TRANSFERS, sort_key=4, usage="Usage: p2p-copy forget ID...")
def forget(
    *ids: Annotated[
        str,
        Parameter(
            name="ID",
            completer=completers.transfers,
            help="Which transfers: their IDs, or the first letters of them.",
        ),
    ],
    state_dir: Annotated[
        PathText | None, PATH, SETUP, Parameter(metavar="DIR", help="Where unfinished transfers are saved.")
    ] = None,
) -> int:
    """Forget unfinished transfers, and remove their partial files. Complete files stay."""
    from p2p_copy.cli.commands.resume import forget as work

    return work(ids, state_dir)


_relay_command = partial(
    app.command, group=RELAYS
)  # a string names a function that is imported when it is needed
_relay_command(
    "p2p_copy.cli.relay_commands:run_relay_server",
    sort_key=1,
    usage="Usage: p2p-copy run-relay-server HOST:PORT... [OPTIONS]",
    help="Run a relay until SIGTERM or Ctrl-C; SIGHUP reloads certificate and tokens.\n\n"
    "A relay pairs senders with receivers and forwards their encrypted data, which it cannot read. It stores nothing.",
)
_relay_command(
    "p2p_copy.cli.relay_commands:relay_token",
    sort_key=2,
    usage="Usage: p2p-copy relay-token NAME",
    help="Create an access token for a relay, and the line for its --tokens-file.\n\n"
    "The token is for the client, the line for the relay. The line has only a hash of the token.",
)
_relay_command(
    "p2p_copy.cli.relay_commands:relay_admin",
    sort_key=3,
    usage="Usage: p2p-copy relay-admin ADDR ORDER",
    help="Show the status of a relay on this machine, or give it an order.\n\n"
    "set NAME VALUE changes a limit until the relay is restarted; NAME is its option without dashes.",
)


@app.command(group=TRANSFERS, sort_key=5, usage="Usage: p2p-copy verify RECEIPT DIR [OPTIONS]")
def verify(
    receipt: Annotated[PathText, PATH, Parameter(name="RECEIPT", help="The receipt of a transfer.")],
    directory: Annotated[
        PathText, PATH, Parameter(name="DIR", help="The directory that the files were received into.")
    ],
    /,
    *,
    times: Annotated[
        bool, COMPARED, FLAG, Parameter(help="Compare times, permission bits and special bits as well.")
    ] = False,
    preserved: Annotated[
        bool,
        COMPARED,
        FLAG,
        Parameter(
            help="Compare hard links, owners and extended attributes as well, if --preserve kept them."
        ),
    ] = False,
    complete: Annotated[
        bool, COMPARED, FLAG, Parameter(help="Count entries that were not delivered as differences.")
    ] = False,
    strict: Annotated[
        bool, COMPARED, FLAG, Parameter(help="Count files that the receipt does not name as differences.")
    ] = False,
    quiet: Annotated[
        bool, OUTPUT, FLAG, Parameter(alias="-q", help="Print only differences and errors.")
    ] = False,
    json: Annotated[bool, OUTPUT, FLAG, JSON] = False,
) -> int:
    """Check that the files of a transfer are still there, unchanged.

    A receipt is written by send or receive with --receipt. Neither a relay nor a network is needed.
    """
    from p2p_copy.cli.commands.verify import verify as work

    return work(
        receipt,
        directory,
        times=times,
        preserved=preserved,
        complete=complete,
        strict=strict,
        quiet=quiet,
        json=json,
    )


@app.command(group=ABOUT, sort_key=1, usage="Usage: p2p-copy demo [DIR]")
def demo(
    directory: Annotated[
        PathText | None,
        PATH,
        Parameter(name="DIR", help="Directory to copy; p2p-copy's own files if not given."),
    ] = None,
    /,
) -> int:
    """Show that p2p-copy works here, with relay, sender and receiver as three processes on this machine.

    Copies a directory to a temporary one through them, compares every byte, and removes the copy.
    """
    from p2p_copy.cli.commands.demo import demo as work

    return work(directory)


app.command(  # imported when it is needed, as the commands of an operator
    "p2p_copy.cli.doctor_command:doctor",
    group=ABOUT,
    sort_key=2,
    usage="Usage: p2p-copy doctor [--server URL] [OPTIONS]",
    help="Check each step of the way to a relay and back, and this machine: what is wrong, and what to change.\n\n"
    "Connects as a transfer does, pairs with itself, and sends some megabytes of random data. Takes seconds.",
)


config = Commands(
    name="config",
    group=ABOUT,
    sort_key=3,
    help="Show the configuration: where its file is, and where each value comes from.",
)
app.command(config)


@config.command(name="show", sort_key=1, usage="Usage: p2p-copy config show [COMMAND [OPTIONS]]")
def config_show(
    *words: Annotated[
        str,
        Parameter(
            name="COMMAND",
            completer=completers.configured,
            allow_leading_hyphen=True,
            help="send, receive, resume or run-relay-server, with options to try. Without it, of all four only what "
            "is not a default.",
        ),
    ],
) -> int:
    """Show the value of each option of a command, and where it comes from.

    Codes, tokens and passwords are hidden. Nothing is run.
    """
    from p2p_copy.cli.commands.config import show

    return show(words, app)


@config.command(name="path", sort_key=2, usage="Usage: p2p-copy config path")
def config_path() -> int:
    """Print the path of the configuration file, whether or not it exists."""
    from p2p_copy.cli.commands.config import path

    return path()


@app.command(name="help", group=ABOUT, sort_key=4, usage="Usage: p2p-copy help [COMMAND | TOPIC]")
def help_(
    *words: Annotated[
        str,
        Parameter(
            name="WORD",
            completer=completers.explained,
            help="A command; or a topic: codes, config, exit-codes, patterns; or topics, which lists them.",
        ),
    ],
) -> int:
    """Explain a command or a topic."""
    from p2p_copy.cli.commands.help import help_ as work

    return work(words, app)


@app.command(group=ABOUT, sort_key=5, usage="Usage: p2p-copy version")
def version() -> int:
    """Print the version."""
    terminal = Terminal.standard()
    terminal.result(_version())
    terminal.finish()
    return 0


@app.command(
    name="--install-completion",
    group=OPTIONS,
    usage="Usage: p2p-copy --install-completion [bash | fish | zsh | powershell]",
)
def install_completion(
    shell: Annotated[
        Literal["bash", "fish", "zsh", "powershell"] | None,
        Parameter(name="SHELL", help="For which shell; without it, for the one that runs this."),
    ] = None,
    /,
) -> int:
    """Complete commands, options and values with Tab in your shell."""
    from p2p_copy.cli.commands.install_completion import install_completion as work

    return work(shell, app)
