"""`python -m p2p_copy` is `p2p-copy`."""

from __future__ import annotations

import gc
import os
import sys

# Whatever else is imported here is loaded before an interrupt can be answered with a sentence.

_INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def main() -> None:
    """Run the command line of this process, and end the process with its exit code."""
    gc.disable()  # what is imported stays, so looking for garbage in it is in vain; `cli.memory` begins again
    try:
        from p2p_copy.cli.app import main as command_line

        code = command_line()
    except KeyboardInterrupt:  # while all that was loaded
        from contextlib import suppress

        code = _INTERRUPTED
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.write("p2p-copy: stopped by a signal.\n")
    from contextlib import suppress

    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # nobody may be left to read it
            stream.flush()
    # Everything is closed by now. To take the interpreter apart piece by piece costs a tenth of the time that sending a
    # small file takes, and a signal that comes in that time would change the exit code.
    os._exit(code)


if __name__ == "__main__":
    main()
