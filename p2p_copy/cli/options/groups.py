"""The headings under which help and docs/cli.md list options, in this order.

An option names its heading where it is declared: `Annotated[bool, OUTPUT, FLAG, Parameter(alias="-q", help=...)]`.
Under a heading, options stand in the order of their declarations. Imports nothing slow.
"""

from __future__ import annotations

import itertools
from typing import Final

from p2p_copy.cli.options.parameter import Parameter

_order: Final = itertools.count(1)


def _heading(text: str) -> Parameter:
    return Parameter(heading=(text, next(_order)))


LISTENING: Final = _heading("Listening and TLS")
ACME: Final = _heading("A certificate by itself")
ACCESS: Final = _heading("Who may connect")
CLIENT_LIMITS: Final = _heading("Limits on clients")
DATA_LIMITS: Final = _heading("Limits on data")
"""These five are of `run-relay-server`."""

LOAD: Final = _heading("Load")
"""Of `relay-load`."""

RELAY: Final = _heading("Relay")
CODE: Final = _heading("Code")
CONTENT: Final = _heading("What to transfer")
TARGET: Final = _heading("Where to write")
COMPARED: Final = _heading("What to compare")
FAILURES: Final = _heading("When things break")
OUTPUT: Final = _heading("Output")
SETUP: Final = _heading("Configuration")
