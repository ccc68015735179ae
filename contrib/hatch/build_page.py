"""Builds the page for browsers while hatchling builds the package, where npm is installed.

The page lies in p2p_copy/web, and its built files in p2p_copy/web/static; wheel and sdist have them. An installation
without them works, but for `run-relay-server --web`. P2P_COPY_WEB in the environment says more:

    (nothing)   build the page if npm is there; if that fails, say so and go on without it
    require     fail without the page: for a release
    no          leave the page as it is

An editable installation leaves it as it is, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PATIENCE = ("--fetch-retries=1", "--fetch-timeout=20000")
"""Shorter than npm's own time-outs, 15 minutes in all, while pip shows no output."""

_SECONDS = 120
"""For each command; they took a tenth of that."""

_COMMANDS = (
    # The build needs no install scripts of packages, so none runs on a user's machine.
    # esbuild is for developers only, and an environment may leave out what is.
    ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--include=dev", *_PATIENCE),
    ("run", "build"),
)


class BuildPage(BuildHookInterface):  # type: ignore[type-arg]
    """The hook; hatchling finds it because it is the only one here."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page before the files of the package are collected."""
        wanted = os.environ.get("P2P_COPY_WEB", "")
        web = Path(self.root, "p2p_copy", "web")
        manifest = web / "static" / "manifest.json"
        from_sdist = Path(self.root, "PKG-INFO").is_file() and manifest.is_file()
        if version == "editable" or wanted == "no" or from_sdist or not (web / "package.json").is_file():
            return
        why = _build(web)
        if why and wanted == "require":
            raise RuntimeError(f"the page for browsers was not built: {why}")
        if why:
            kept = "; what was built before is used" if manifest.is_file() else ""
            self.app.display_warning(f"The page for browsers was not built: {why}{kept}.")


def _build(web: Path) -> str:
    """Build the page; return why that failed, in words, or nothing."""
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed"
    for words in _COMMANDS:
        # Standard output is hatchling's own: programs read it.
        try:
            ended = subprocess.run([npm, *words], cwd=web, stdout=sys.stderr, check=False, timeout=_SECONDS)  # noqa: S603  # of this file
        except subprocess.TimeoutExpired:
            return f"npm {words[0]} took more than {_SECONDS} s"
        if ended.returncode:
            return f"npm {words[0]} failed"
    return ""
