"""`p2p-copy relay-token`: a new access token, and the line that makes a relay accept it."""

from __future__ import annotations

import secrets

from p2p_copy.cli import limits
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import UsageError
from p2p_copy.relay.access.tokens import line_for


def relay_token(name: str) -> int:
    """Print both, and return exit code 0. Nothing is kept: who loses the token makes another one.

    Raises:
        UsageError: the name cannot stand in the file.
        ResultNotWritten: nobody has seen the token.
        BrokenPipeError: whoever was to read it has gone.

    """
    token = secrets.token_urlsafe(limits.TOKEN_BYTES)
    try:
        line = line_for(name, token)
    except ValueError as error:
        raise UsageError(f"This cannot be: {error}.") from None
    terminal = Terminal.standard()
    terminal.result(f"Token: {token}")
    terminal.result(f"Line: {line}")
    terminal.finish()
    terminal.error(
        "Give the token to the client (--token-file FILE or P2P_COPY_TOKEN), and add the line, from the"
    )
    terminal.error("name on, to the relay's --tokens-file; rate=10M/s and quota=500G may follow it.")
    return 0
