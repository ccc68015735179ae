"""`p2p-copy relay-token`: creates an access token, and the line with which a relay accepts it."""

from __future__ import annotations

import secrets

from p2p_copy.cli import limits
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import UsageError
from p2p_copy.relay.access.tokens import line_for


def relay_token(name: str) -> int:
    """Print a new token and its line, and return exit code 0. Nothing is saved: a lost token is replaced by a new one.

    Raises:
        UsageError: the name cannot be used in the file.
        ResultNotWritten: the token could not be written.
        BrokenPipeError: the reader of the output has closed its pipe.

    """
    token = secrets.token_urlsafe(limits.TOKEN_BYTES)
    try:
        line = line_for(name, token)
    except ValueError as error:
        raise UsageError(f"No token was created: {error}.") from None
    terminal = Terminal.standard()
    terminal.result(f"Token: {token}")
    terminal.result(f"Line: {line}")
    terminal.finish()
    terminal.error(
        "Give the token to the client (--token-file FILE or P2P_COPY_TOKEN), and add the line, without"
    )
    terminal.error("'Line: ', to the relay's --tokens-file; rate=10M/s and quota=500G may follow it.")
    return 0
