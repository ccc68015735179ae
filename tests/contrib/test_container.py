"""contrib/container: a relay without root and without a shell between it and its signals."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from tests.contrib.programs import CONTRIB

FILE = CONTRIB / "container" / "Containerfile"


def instructions() -> list[tuple[str, str]]:
    """Return what the file orders, without comments."""
    found = []
    for line in FILE.read_text().splitlines():
        if line and not line.startswith("#"):
            instruction, _, words = line.partition(" ")
            found.append((instruction, words))
    return found


def test_every_command_is_a_list_of_words_and_no_line_for_a_shell() -> None:
    for instruction, words in instructions():
        if instruction in ("RUN", "CMD", "ENTRYPOINT"):
            assert all(isinstance(word, str) for word in json.loads(words))


def test_the_relay_runs_as_a_user_by_number_that_is_not_root() -> None:
    last = [words for instruction, words in instructions() if instruction == "USER"][-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last)


def test_the_port_that_is_exposed_is_the_one_that_is_opened() -> None:
    given = dict(instructions())
    assert given["EXPOSE"] in json.loads(given["CMD"])
    assert int(given["EXPOSE"]) >= 1024


def copied() -> list[str]:
    """Return what comes from the clone."""
    copies = [words.split() for instruction, words in instructions() if instruction == "COPY"]
    return [source for words in copies if not words[0].startswith("--from") for source in words[:-1]]


def test_everything_that_is_copied_into_it_exists() -> None:
    assert all((CONTRIB.parent / source).exists() for source in copied())


def test_everything_that_the_build_of_the_package_runs_or_reads_is_copied_into_it() -> None:
    project = tomllib.loads((CONTRIB.parent / "pyproject.toml").read_text())
    hatch = project["tool"]["hatch"]
    needed = {project["project"]["readme"], *project["project"]["license-files"]}
    needed |= {hatch["version"]["path"], *hatch["build"]["targets"]["wheel"]["packages"]}
    needed |= {hook["path"] for hook in hatch["build"]["hooks"].values()}
    for path in needed:
        assert any(Path(path).is_relative_to(source) for source in copied()), path
