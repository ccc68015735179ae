"""`python -m p2p_copy` is `p2p-copy`."""

from __future__ import annotations

import sys

from p2p_copy.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
