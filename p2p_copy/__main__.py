"""`python -m p2p_copy` is `p2p-copy`."""

from __future__ import annotations

import gc
import os
import sys

# Every further import here would run before an interrupt can be reported with a sentence.

_INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def main() -> None:
    """Run the command line of this process, and end the process with its exit code."""
    gc.disable()  # imported modules are no garbage, so do not look for any; `cli.run` turns it on again
    try:
        from p2p_copy.cli.main import main as command_line

        code = command_line()
    except KeyboardInterrupt:  # during the imports
        from contextlib import suppress

        code = _INTERRUPTED
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.write("p2p-copy: Interrupted.\n")
    from contextlib import suppress

    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # its reader may have gone
            stream.flush()
    # Everything is closed by now. An orderly shutdown of the interpreter would take a tenth of the time that sending a
    # small file takes, and a signal meanwhile would change the exit code.
    os._exit(code)


if __name__ == "__main__":
    main()
