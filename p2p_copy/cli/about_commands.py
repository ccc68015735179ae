"""Declares the commands about p2p-copy itself: demonstration, doctor, configuration, help, version and completion.

`cli.app` has their help, and imports this only when one of them is called or explained.
"""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from p2p_copy.cli.app import app
from p2p_copy.cli.options import completers
from p2p_copy.cli.options.client import (
    JSON,
    NO_ACCESS_ARGUMENTS,
    AccessArguments,
    ConfigPath,
    ServerNames,
    StateDir,
)
from p2p_copy.cli.options.groups import FAILURES, OUTPUT, TARGET
from p2p_copy.cli.options.values import DURATION, EACH, FLAG, PATH, PathText
from p2p_copy.cli.ui.help import Commands
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.version import FULL_NAME


def demo(
    directory: Annotated[
        PathText | None,
        PATH,
        Parameter(name="DIR", help="Directory to copy; p2p-copy's own files if not given."),
    ] = None,
    /,
) -> int:
    """Show that p2p-copy works here."""
    from p2p_copy.cli.commands.demo import demo as work

    return work(directory)


def doctor(
    *,
    server: ServerNames = (),
    access: Annotated[AccessArguments, EACH] = NO_ACCESS_ARGUMENTS,
    out: Annotated[
        PathText,
        PATH,
        TARGET,
        Parameter(alias="-o", metavar="DIR", help="Directory whose disk is tried, as that of receive."),
    ] = ".",
    idle: Annotated[
        float,
        FAILURES,
        DURATION,
        Parameter(help="Leave a connection idle for this time, to see whether something cuts it: 120."),
    ] = 0,
    json: Annotated[bool, OUTPUT, FLAG, JSON] = False,
    state_dir: StateDir = None,
    config: ConfigPath = None,
) -> int:
    """Check each step of the way to a relay and back."""
    from p2p_copy.cli.commands.doctor import doctor as work

    return work(server, access, out=out, idle=idle, json=json, state_dir=state_dir)


config = Commands(
    name="config", help="Show the configuration: where its file is, and where each value comes from."
)


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


def version() -> int:
    """Print the version."""
    terminal = Terminal.standard()
    terminal.result(FULL_NAME)
    terminal.finish()
    return 0


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
