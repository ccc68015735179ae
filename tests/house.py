"""The structure of the package in words: `python -m tests.house`.

Prints each folder with the first line of each file's docstring, the arrows between folders, the circles of
imports, and the files that each chunk of a large file passes on its way from disk to disk.

The way of a chunk is measured, not read: two real transfers run, one of them with more chunks, and a file is on the
way if its functions are called more often in the longer transfer. What happens once for each transfer does not count.
Both use one link, since a loaded machine would otherwise open more of them.
`--package DIR` looks at another version, whose relay, sender and receiver run with the interpreter that runs this;
`--one-link="--streams 1"` is how an older one is told to use one link.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[1]
NAME: Final = "p2p_copy"
CHUNK: Final = 960 * 1024
FEW, MANY = 16, 80
"""Chunks of the two transfers, both beyond what is sent before the first answer."""

SHARE: Final = 0.2
"""Calls for each chunk above which a file is on its way: several chunks travel together, so it is less than one."""

PROBE: Final = """
import dis, json, os, sys, threading
calls, order, begins = {}, [], {}
home = os.environ["HOUSE_PACKAGE"] + os.sep
def beginning(code):
    if code not in begins:
        begins[code] = min(each.offset for each in dis.get_instructions(code) if each.opname == "RESUME")
    return begins[code]
def look(frame, event, argument):
    if event == "call":
        path = frame.f_code.co_filename
        if path.startswith(home) and frame.f_lasti <= beginning(frame.f_code):  # not a coroutine that goes on
            calls[path] = calls.get(path, 0) + 1
            if calls[path] == int(os.environ["HOUSE_FROM"]):
                order.append(path)
def dump():
    with open(os.environ["HOUSE_REPORT"], "w") as file:
        json.dump([calls, order], file)
leave = os._exit
def leaving(code):
    sys.setprofile(None)
    dump()
    leave(code)
os._exit = leaving
sys.argv[0] = "p2p-copy"
sys.path.insert(0, os.path.dirname(os.environ["HOUSE_PACKAGE"]))
threading.setprofile(look)
sys.setprofile(look)
from p2p_copy.__main__ import main
main()
"""


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(line + "\n")


class Module:
    """One file of the package, and what it imports of ours."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.lines = len(path.read_text(encoding="utf-8").splitlines())
        self.promise = (ast.get_docstring(self.tree) or "").partition("\n")[0]
        self.imports: set[str] = set()

    @property
    def folder(self) -> str:
        return self.name.partition(".")[0] if "." in self.name else "(root)"


def modules(package: Path) -> dict[str, Module]:
    """Return the modules of a package by their names inside it."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name or "(package)"] = Module(name or "(package)", path)
    for module in found.values():
        for imported in imports(module.tree):
            name = imported.removeprefix(NAME).removeprefix(".")
            while name and name not in found:
                name = name.rpartition(".")[0]
            if name and name != module.name and not module.name.startswith(name + "."):
                module.imports.add(name)
    return found


def imports(tree: ast.Module) -> Iterator[str]:
    """Yield what a file imports of ours, for type checkers only as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(f"{NAME}."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == NAME:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def circles(house: dict[str, Module]) -> list[list[str]]:
    """Return the groups of modules that import each other (Tarjan's strongly connected components)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for other in sorted(house[name].imports):
            if other not in number:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], number[other])
        if lowest[name] == number[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in house:
        if name not in number:
            visit(name)
    return found


def show_folders(house: dict[str, Module]) -> None:
    folders: dict[str, list[Module]] = defaultdict(list)
    for module in house.values():
        folders[module.folder].append(module)
    for folder, inside in sorted(folders.items()):
        say(f"\n{folder}: {len(inside)} files, {sum(module.lines for module in inside):,} lines")
        for module in inside:
            say(f"  {module.name:42} {module.lines:4}  {module.promise}")


def show_arrows(house: dict[str, Module]) -> None:
    arrows: dict[str, set[str]] = defaultdict(set)
    for module in house.values():
        arrows[module.folder] |= {house[other].folder for other in module.imports} - {module.folder}
    say(f"\nArrows between folders: {sum(map(len, arrows.values()))}")
    for folder, others in sorted(arrows.items()):
        say(f"  {folder} -> {', '.join(sorted(others)) or 'nothing'}")
    say(f"Arrows between files: {sum(len(module.imports) for module in house.values())}")
    groups = circles(house)
    say(f"Circles: {len(groups)}")
    for group in groups:
        say(f"  {', '.join(group)}")


def transfer(
    package: Path, chunks: int, folder: Path, clients: list[str]
) -> dict[str, tuple[dict[str, int], list[str]]]:
    """Copy a file of `chunks` chunks; return for each party how often each file's functions were called, in order."""
    source, out = folder / "source", folder / f"out{chunks}"
    source.write_bytes(os.urandom(chunks * CHUNK))
    reports = {party: folder / f"{party}{chunks}.json" for party in ("sender", "relay", "receiver")}

    def start(party: str, *words: str, code: str = "") -> subprocess.Popen[str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith("P2P_COPY_")}
        env |= {
            "HOUSE_PACKAGE": str(package),
            "HOUSE_REPORT": str(reports[party]),
            "HOUSE_FROM": "30",
            "P2P_COPY_CODE": code,
            "P2P_COPY_STATE_DIR": str(folder / party),
            "P2P_COPY_CONFIG": os.devnull,
        }
        return subprocess.Popen(
            [sys.executable, "-c", PROBE, *words],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    relay = start("relay", "run-relay-server", "127.0.0.1", "0", "--no-tls")
    assert relay.stdout is not None
    line = relay.stdout.readline()
    match = re.search(r"ws://\S+", line)
    assert match, line
    code = "house7-a long passphrase"
    sender = start("sender", "send", str(source), *clients, "--server", match[0], code=code)
    receiver = start("receiver", "receive", "--out", str(out), *clients, "--server", match[0], code=code)
    assert (sender.wait(120), receiver.wait(120)) == (0, 0)
    relay.terminate()
    assert relay.wait(30) == 0
    return {party: tuple(json.loads(path.read_text())) for party, path in reports.items()}


def show_way(package: Path, clients: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few, many = (transfer(package, chunks, folder, clients) for chunks in (FEW, MANY))
    files: dict[str, None] = {}
    say("\nThe way of one chunk")
    for party in ("sender", "relay", "receiver"):
        calls, order = many[party]
        least = (MANY - FEW) * SHARE
        busy = [path for path in order if calls[path] - few[party][0].get(path, 0) > least]
        say(f"  {party}:")
        for path in busy:
            short = path.removeprefix(f"{package}{os.sep}").removesuffix(".py")
            files.setdefault(short)
            say(
                f"    {short:42} {(calls[path] - few[party][0].get(path, 0)) / (MANY - FEW):6.1f} calls a chunk"
            )
    say(f"  {len(files)} files in all")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--package", type=Path, default=ROOT / NAME)
    parser.add_argument("--no-way", action="store_true", help="do not run the transfers")
    parser.add_argument("--one-link", default="--links 1", help="the option of both clients for one link")
    asked = parser.parse_args()
    house = modules(asked.package)
    show_folders(house)
    show_arrows(house)
    if not asked.no_way:
        show_way(asked.package.resolve(), asked.one_link.split())


if __name__ == "__main__":
    main()
