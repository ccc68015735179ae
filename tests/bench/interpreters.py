"""The interpreters of the programs that are measured: whether they are alike, and that none compiles while measured."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.runs import Failed, variables

if TYPE_CHECKING:
    from collections.abc import Sequence

PREPARE = """
import compileall, platform, ssl, sys, sysconfig
places = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
try:
    import p2p_copy
except ImportError:
    pass
else:
    places.update(p2p_copy.__path__)
for place in places:
    compileall.compile_dir(place, quiet=2, workers=0)
print(f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}")
"""
"""Compiles what an interpreter imports, even if programs may not write bytecode themselves, and says what it is."""


def prepared(programs: Sequence[str]) -> str:
    """Compile what these Python programs import; return a sentence about their interpreters.

    Raises:
        Failed: they do not have the same version of Python and of OpenSSL, so that their figures say nothing.

    """
    found = {program: _prepared(program) for program in programs}
    if len(set(found.values())) > 1:
        shown = "; ".join(f"{program} has {interpreter}" for program, interpreter in found.items())
        raise Failed(f"the programs must have the same interpreter: {shown}")
    return f"All programs in Python have {next(iter(found.values()))}, and are compiled."


def _prepared(program: str) -> str:
    with Path(program).open(encoding="utf-8") as script:
        first = script.readline()
    if not first.startswith("#!"):
        raise Failed(f"{program} is no script")
    words = [*shlex.split(first[2:]), "-c", PREPARE]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=variables(), cwd="/")
    if done.returncode:
        raise Failed(f"{program}: {done.stderr.strip()}")
    return done.stdout.strip()
