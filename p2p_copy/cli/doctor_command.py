"""Declares `p2p-copy doctor`. `cli.app` has its help, and imports this only when it is called or explained."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from p2p_copy.cli.options.client import (
    JSON,
    NO_ACCESS_ARGUMENTS,
    AccessArguments,
    ConfigPath,
    ServerNames,
    StateDir,
)
from p2p_copy.cli.options.groups import FAILURES, OUTPUT, TARGET
from p2p_copy.cli.options.values import DURATION, FLAG, PATH, PathText


def doctor(
    *,
    server: ServerNames = (),
    access: AccessArguments = NO_ACCESS_ARGUMENTS,
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
