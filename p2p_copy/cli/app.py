"""Declares the commands with their arguments, options and help. Their work is in modules imported when they are called.

Nothing slow but cyclopts is imported here, so that `--help` and a mistyped option are answered at once. A plain `send`
or `receive` does not need this module: see `main`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import CycloptsError, Group, Parameter

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
from p2p_copy.cli.options.config_defaults import from_file
from p2p_copy.cli.options.unused import refuse_unused
from p2p_copy.cli.options.values import EACH, PATH, PathText
from p2p_copy.cli.ui.help import Commands, Printed, TwoColumns
from p2p_copy.cli.ui.mistakes import mistyped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.cli.ui.terminal import Terminal

_TRANSFERS: Final = Group("Transfers", sort_key=1)
_RELAYS: Final = Group("Run a relay", sort_key=2)
_ABOUT: Final = Group("About p2p-copy", sort_key=3)
_OPTIONS: Final = Group("Options", sort_key=4)
"""The headings under which help and docs/cli.md list commands, in this order."""


def _version() -> str:
    from p2p_copy.version import FULL_NAME

    return FULL_NAME


app = Commands(
    name="p2p-copy",
    help="Copy files, encrypted from end to end, between two machines that can only make outgoing connections.",
    version=_version,
    version_flags=("--version", "-V"),
    group_commands=_OPTIONS,
    config=[refuse_unused, from_file],
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # cyclopts would end the process without a message
    help_format="plaintext",
    help_formatter=TwoColumns(),
)


def run(words: Sequence[str], terminal: Terminal) -> int:
    """Run a command and return its exit code; write what the library prints, such as help, as its result.

    Raises:
        Mistyped: the command line is wrong.
        P2PCopyError, Interrupted: the command failed.

    """
    printed = Printed()
    try:
        exit_code: int | None = app(words, exit_on_error=False, print_error=False, console=printed.console)
    except CycloptsError as error:
        raise mistyped(error) from error
    if text := printed.text():
        terminal.result(text)
    return exit_code or 0


@app.command(group=_TRANSFERS, sort_key=1, usage="Usage: p2p-copy send PATH... [OPTIONS]")
def send(
    *words: Annotated[
        PathText,
        PATH,
        Parameter(
            name="PATH", help="Files and directories to send; or - alone for standard input. [required]"
        ),
    ],
    transfer: Annotated[TransferArguments, EACH] = NO_TRANSFER_ARGUMENTS,
    client: Annotated[ClientArguments, EACH] = NO_CLIENT_ARGUMENTS,
    sending: Annotated[SendArguments, EACH] = NO_SEND_ARGUMENTS,
) -> int:
    """Send files and directories.

    Prints a new code, unless one is given, and the command for the other machine.
    Also: p2p-copy send wss://HOST:PORT CODE PATH...
    """
    from p2p_copy.cli.commands.send import send as work

    return work(words, transfer, client, sending)


@app.command(group=_TRANSFERS, sort_key=2, usage="Usage: p2p-copy receive [CODE] [OPTIONS]")
def receive(
    *words: Annotated[
        str, Parameter(name="CODE", help="The code that the sender shows; asked for if not given.")
    ],
    transfer: Annotated[TransferArguments, EACH] = NO_TRANSFER_ARGUMENTS,
    client: Annotated[ClientArguments, EACH] = NO_CLIENT_ARGUMENTS,
    receiving: Annotated[ReceiveArguments, EACH] = NO_RECEIVE_ARGUMENTS,
) -> int:
    """Receive files from the sender with the same code.

    Also: p2p-copy receive wss://HOST:PORT CODE --out DIR
    """
    from p2p_copy.cli.commands.receive import receive as work

    return work(words, transfer, client, receiving)


_saved = partial(app.command, group=_TRANSFERS)
_relay = partial(app.command, group=_RELAYS)
_about = partial(app.command, group=_ABOUT)
# A string names a function that is imported when its command is called or explained.
_saved(
    "p2p_copy.cli.saved_commands:resume",
    sort_key=3,
    usage="Usage: p2p-copy resume [ID] [OPTIONS]",
    help="List the unfinished transfers of this machine, or resume one.\n\n"
    "Running the same command again also resumes. Files, options and relay are those of the first run.",
)
_saved(
    "p2p_copy.cli.saved_commands:forget",
    sort_key=4,
    usage="Usage: p2p-copy forget ID...",
    help="Forget unfinished transfers, and remove their partial files. Complete files stay.",
)
_saved(
    "p2p_copy.cli.saved_commands:verify",
    sort_key=5,
    usage="Usage: p2p-copy verify RECEIPT DIR [OPTIONS]",
    help="Check that the files of a transfer are still there, unchanged.\n\n"
    "A receipt is written by send or receive with --receipt. Neither a relay nor a network is needed.",
)
_relay(
    "p2p_copy.cli.relay_commands:run_relay_server",
    sort_key=1,
    usage="Usage: p2p-copy run-relay-server HOST:PORT... [OPTIONS]",
    help="Run a relay until SIGTERM or Ctrl-C; SIGHUP reloads certificate and tokens.\n\n"
    "A relay pairs senders with receivers and forwards their encrypted data, which it cannot read. It stores nothing.",
)
_relay(
    "p2p_copy.cli.relay_commands:relay_token",
    sort_key=2,
    usage="Usage: p2p-copy relay-token NAME",
    help="Create an access token for a relay, and the line for its --tokens-file.\n\n"
    "The token is for the client, the line for the relay. The line has only a hash of the token.",
)
_relay(
    "p2p_copy.cli.relay_commands:relay_admin",
    sort_key=3,
    usage="Usage: p2p-copy relay-admin ADDR ORDER",
    help="Show the status of a relay on this machine, or give it an order.\n\n"
    "set NAME VALUE changes a limit until the relay is restarted; NAME is its option without dashes.",
)
_relay(
    "p2p_copy.cli.relay_commands:relay_load",
    sort_key=4,
    usage="Usage: p2p-copy relay-load URL [OPTIONS]",
    help="Load a relay of your own with many clients, and show how fast it is.\n\n"
    "It must have been started with --allow-load-test, and with limits that allow the load.",
)
_about(
    "p2p_copy.cli.about_commands:demo",
    sort_key=1,
    usage="Usage: p2p-copy demo [DIR]",
    help="Show that p2p-copy works here, with relay, sender and receiver as three processes on this machine.\n\n"
    "Copies a directory to a temporary one through them, compares every byte, and removes the copy.",
)
_about(
    "p2p_copy.cli.about_commands:doctor",
    sort_key=2,
    usage="Usage: p2p-copy doctor [--server URL] [OPTIONS]",
    help="Check each step of the way to a relay and back, and this machine: what is wrong, and what to change.\n\n"
    "Connects as a transfer does, pairs with itself, and sends some megabytes of random data. Takes seconds.",
)
_about(
    "p2p_copy.cli.about_commands:config",
    name="config",
    sort_key=3,
    help="Show the configuration: where its file is, and where each value comes from.",
)
_about(
    "p2p_copy.cli.about_commands:help_",
    name="help",
    sort_key=4,
    usage="Usage: p2p-copy help [COMMAND | TOPIC]",
    help="Explain a command or a topic.",
)
_about(
    "p2p_copy.cli.about_commands:version",
    sort_key=5,
    usage="Usage: p2p-copy version",
    help="Print the version.",
)
app.command(
    "p2p_copy.cli.about_commands:install_completion",
    name="--install-completion",
    group=_OPTIONS,
    usage="Usage: p2p-copy --install-completion [bash | fish | zsh | powershell]",
    help="Complete commands, options and values with Tab in your shell.",
)
