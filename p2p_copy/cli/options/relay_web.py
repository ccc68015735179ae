"""The options of `run-relay-server` about browsers. Imports nothing slow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

import p2p_copy
from p2p_copy.cli.options.groups import ACCESS
from p2p_copy.cli.options.values import FLAG
from p2p_copy.errors import UsageError

BUILT: Final = Path(p2p_copy.__path__[0], "web", "static")
"""The files of the page, made by the build of the package or by npm. Beside them a clone has their sources."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class RelayWeb:
    """What a relay has for browsers."""

    web: Annotated[
        bool,
        ACCESS,
        FLAG,
        Parameter(
            help="Serve a page with which people send and receive in a browser, at the relay's address by https."
        ),
    ] = False
    web_origin: Annotated[
        tuple[str, ...],
        ACCESS,
        Parameter(
            metavar="ORIGIN",
            negative="",
            help="Let the page be used from elsewhere, too: https://HOST[:PORT], or null for a page that is opened "
            "from a disk. May be repeated.",
            show_default=False,
        ),
    ] = ()

    def folder(self) -> Path | None:
        """Return the directory with the files of the page; None for a relay that serves none.

        Raises:
            UsageError: this installation has no page.

        """
        if not self.web:
            return None
        if (BUILT / "manifest.json").is_file():
            return BUILT
        sources = BUILT.parent
        if (sources / "package.json").is_file():
            how = (
                "In a clone it has to be built once, with Node.js and npm: "
                f"npm --prefix {sources} ci && npm --prefix {sources} run build"
            )
        else:
            how = (
                "The package was built without npm. Install one that has the page, python3 -m pip install "
                "--force-reinstall p2p-copy, or build one where npm is installed."
            )
        raise UsageError(f"--web needs the page for browsers, and this installation has none. {how}")


NO_WEB: Final = RelayWeb()
