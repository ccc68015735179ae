"""Declares the commands for what earlier transfers have left: unfinished ones, and receipts.

`cli.app` has their help, and imports this only when one of them is called or explained.
"""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from p2p_copy.cli.options import completers
from p2p_copy.cli.options.client import JSON, NO_CLIENT_ARGUMENTS, ClientArguments
from p2p_copy.cli.options.groups import COMPARED, OUTPUT, SETUP
from p2p_copy.cli.options.values import EACH, FLAG, PATH, PathText


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
    client: Annotated[ClientArguments, EACH] = NO_CLIENT_ARGUMENTS,
) -> int:
    """List the unfinished transfers of this machine, or resume one."""
    from p2p_copy.cli.commands.resume import resume as work

    return work(id_, client)


def forget(
    *ids: Annotated[
        str,
        Parameter(
            name="ID",
            completer=completers.transfers,
            help="Which transfers: their IDs, or the first letters of them. [required]",
        ),
    ],
    state_dir: Annotated[
        PathText | None, PATH, SETUP, Parameter(metavar="DIR", help="Where unfinished transfers are saved.")
    ] = None,
) -> int:
    """Forget unfinished transfers."""
    from p2p_copy.cli.commands.resume import forget as work

    return work(ids, state_dir)


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
    """Check that the files of a transfer are still there."""
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
