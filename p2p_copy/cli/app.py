"""The commands: their words, options and help. What they do is in the modules that they import when called.

Only cyclopts is imported here, so that `--help` and a mistyped option are answered at once.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import App, Parameter, validators

from p2p_copy import limits
from p2p_copy.cli.config import from_file
from p2p_copy.cli.failure import explain
from p2p_copy.cli.help import TwoColumns
from p2p_copy.cli.relay_limits import DEFAULT_LIMITS, SECONDS, RelayLimits, bytes_of
from p2p_copy.cli.relay_log import DEFAULT_LOG, RelayLog
from p2p_copy.cli.terminal import Terminal
from p2p_copy.cli.times import DEADLINE, DURATION
from p2p_copy.cli.variables import (
    CODE_VARIABLE,
    CONFIG_VARIABLE,
    SERVER_VARIABLE,
    STATE_VARIABLE,
    TOKEN_VARIABLE,
)
from p2p_copy.cli.words import with_serve_value
from p2p_copy.options import Conflict, Links, Names

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
    config=[from_file],
    result_action="return_value",
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
        exit_code: int | None = app(with_serve_value(words), exit_on_error=False, print_error=False)
    except (Exception, KeyboardInterrupt) as error:
        return explain(error, terminal)
    return exit_code or 0


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class ClientOptions:
    """What sender and receiver have in common."""

    server: Annotated[
        str | None,
        Parameter(
            env_var=SERVER_VARIABLE,
            metavar="URL",
            help="The relay: wss://HOST:PORT, or ws:// for one without TLS.",
        ),
    ] = None
    code: Annotated[
        str | None,
        Parameter(
            metavar="CODE", help="The code. Other users of this machine can read it in the list of processes."
        ),
    ] = None
    code_file: Annotated[
        str | None,
        Parameter(
            metavar="FILE",
            allow_leading_hyphen=True,  # it may be a lone one
            help=f"File whose first line is the code; - for standard input. {CODE_VARIABLE} is another way.",
        ),
    ] = None
    ca_file: Annotated[
        str | None,
        Parameter(
            metavar="FILE", help="PEM file with certificates to trust for the relay, besides the system's."
        ),
    ] = None
    token_file: Annotated[
        str | None,
        Parameter(
            metavar="FILE",
            allow_leading_hyphen=True,
            help="File whose first line is the access token, for relays that want one; - for standard input. "
            f"{TOKEN_VARIABLE} is another way.",
        ),
    ] = None
    wait: Annotated[float, SECONDS, Parameter(help="Seconds to wait for the other side.")] = limits.PEER_WAIT
    patience: Annotated[
        float,
        DURATION,
        Parameter(
            show_default=lambda seconds: f"{seconds / 3600:g}h",
            help="For how long to come back when the other side or the relay was lost: 30s, 10m, 6h, 2d; 0 for not "
            "at all.",
        ),
    ] = limits.PATIENCE
    deadline: Annotated[
        float | None,
        DEADLINE,
        Parameter(
            help="Stop then, in good order, so that the same command can go on later: 55m, 23:50, or a date and time."
        ),
    ] = None
    state_dir: Annotated[
        str | None,
        Parameter(
            metavar="DIR",
            help=f"Where unfinished transfers are remembered. {STATE_VARIABLE} is another way. Default: the usual "
            "place for a program's state in your home directory.",
        ),
    ] = None
    receipt: Annotated[
        str | None, Parameter(metavar="FILE", help="Write what was transferred, for p2p-copy verify.")
    ] = None
    quiet: Annotated[
        bool, Parameter(negative="", show_default=False, help="Say nothing but results and errors.")
    ] = False
    config: Annotated[
        str | None,
        Parameter(metavar="FILE", help=f"Configuration file (TOML). {CONFIG_VARIABLE} is another way."),
    ] = None


_NO_OPTIONS: Final = ClientOptions()


@app.command(usage="Usage: p2p-copy send PATH... [OPTIONS]")
def send(
    *words: Annotated[str, Parameter(name="PATH", help="Files and directories to send.")],
    options: ClientOptions = _NO_OPTIONS,
    serve: Annotated[
        str | None,
        Parameter(
            metavar="[HOST:PORT]",
            help="Be the relay as well, for this transfer only. Without HOST:PORT: all addresses "
            f"of this machine, port {limits.SERVE_PORT} or another one that is free.",
        ),
    ] = None,
    links: Annotated[
        Links,
        Parameter(
            help="Symbolic links inside a directory: keep those that stay inside as links, copy what they "
            "point to, or skip them."
        ),
    ] = Links.KEEP,
) -> int:
    """Send files and directories.

    Prints a new code and the command for the other machine, unless a code is given.
    Also: p2p-copy send wss://HOST:PORT CODE PATH...
    """
    from p2p_copy.cli.send import send as work

    return work(words, options, serve=serve, links=links)


@app.command(usage="Usage: p2p-copy receive [CODE] [OPTIONS]")
def receive(
    *words: Annotated[
        str, Parameter(name="CODE", help="The code that the sender shows. Asked for if it is not given.")
    ],
    options: ClientOptions = _NO_OPTIONS,
    out: Annotated[
        str, Parameter(metavar="DIR", help="Directory to write into; made if it is not there.")
    ] = ".",
    on_conflict: Annotated[
        Conflict,
        Parameter(
            help="When a name exists already: refuse the new file, overwrite the old one, rename the new "
            "one, or skip it (which is no failure)."
        ),
    ] = Conflict.REFUSE,
    names: Annotated[
        Names,
        Parameter(help="Accept names that work on all systems only, or whatever this system can hold."),
    ] = Names.PORTABLE,
    max_size: Annotated[
        int | None,
        Parameter(
            converter=bytes_of,
            n_tokens=1,
            accepts_keys=False,
            metavar="BYTES",
            help="Most bytes to take in all; K, M, G, T work.",
        ),
    ] = None,
    reverify: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="When going on: read what is here again, and believe nothing else.",
        ),
    ] = False,
) -> int:
    """Receive what a sender with the same code sends.

    Also: p2p-copy receive wss://HOST:PORT CODE --out DIR
    """
    from p2p_copy.cli.receive import receive as work

    return work(
        words, options, out=out, conflict=on_conflict, names=names, max_size=max_size, reverify=reverify
    )


@app.command(usage="Usage: p2p-copy resume [ID] [OPTIONS]")
def resume(
    id_: Annotated[
        str | None,
        Parameter(name="ID", help="Which transfer; the first letters do. All are listed without it."),
    ] = None,
    /,
    *,
    options: ClientOptions = _NO_OPTIONS,
) -> int:
    """List the transfers that were begun here and are not done, or go on with one.

    To start the same command again does the same.
    """
    from p2p_copy.cli.resume import resume as work

    return work(id_, options)


@app.command(usage="Usage: p2p-copy forget ID...")
def forget(
    *ids: Annotated[str, Parameter(name="ID", help="Which transfers; the first letters do.")],
    state_dir: Annotated[
        str | None, Parameter(metavar="DIR", help="Where unfinished transfers are remembered.")
    ] = None,
) -> int:
    """Forget unfinished transfers, and remove what they have left half done. Complete files stay."""
    from p2p_copy.cli.resume import forget as work

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
        Parameter(
            validator=validators.Number(gte=0),
            metavar="SECONDS",
            show_default="{:g}".format,
            help="Seconds that transfers may go on after SIGTERM.",
        ),
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
    from p2p_copy.cli.relay import run_relay_server as work

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
    from p2p_copy.cli.relay_token import relay_token as work

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
    from p2p_copy.cli.relay_admin import relay_admin as work

    return work(address, order, words)


@app.command(usage="Usage: p2p-copy verify RECEIPT DIR [OPTIONS]")
def verify(
    receipt: Annotated[str, Parameter(name="RECEIPT", help="The receipt of a transfer.")],
    directory: Annotated[str, Parameter(name="DIR", help="The directory that it was received into.")],
    /,
    *,
    times: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Compare times and permission bits as well."),
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
    from p2p_copy.cli.verify import verify as work

    return work(receipt, directory, times=times, strict=strict, quiet=quiet)


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
    from p2p_copy.cli.demo import demo as work

    return work(directory)
