"""`python -m p2p_copy` is `p2p-copy`."""

from __future__ import annotations

import gc
import sys


def main() -> int:
    """Run the command line of this process and return its exit code."""
    gc.disable()  # what is imported stays, so looking for garbage in it is in vain; `cli.memory` begins again
    from p2p_copy.cli.app import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
