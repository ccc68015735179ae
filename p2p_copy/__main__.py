"""`python -m p2p_copy` is `p2p-copy`."""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import suppress


def main() -> None:
    """Run the command line of this process, and end the process with its exit code."""
    gc.disable()  # what is imported stays, so looking for garbage in it is in vain; `cli.memory` begins again
    try:
        from p2p_copy.cli.app import main as command_line

        code = command_line()
    except KeyboardInterrupt:  # while all that was loaded
        code = 128 + signal.SIGINT
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # nobody may be left to read it
            stream.flush()
    # Everything is closed by now. To take the interpreter apart piece by piece costs a tenth of the time that sending a
    # small file takes, and a signal that comes in that time would change the exit code.
    os._exit(code)


if __name__ == "__main__":
    main()
