"""The layers of docs/architecture.md, held against the sources: who imports whom, and who touches what.

An import for type checkers only counts where a rule is a claim about knowledge (the relay), and does not
count where it is about order.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import p2p_copy

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.once

PACKAGE = "p2p_copy"
ROOT = Path(p2p_copy.__path__[0])

IMPURE = {
    "anyio",
    "asyncio",
    "datetime",
    "io",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "select",
    "selectors",
    "shutil",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "trio",
}
"""What a pure module cannot want: files, clocks, randomness, sockets, event loops, logs."""

LEAVES = {"errors", "observer", "options", "pasted", "units", "value", "version"}
"""What lies in the root, below all folders: it imports nothing but each other."""

MAY_IMPORT = {
    "protocol": LEAVES,
    "transport": LEAVES,
    "peer": LEAVES | {"protocol", "transport"},
    "files": LEAVES | {"protocol"},
    "transfer": LEAVES | {"protocol", "transport", "peer", "files"},
    "doctor": LEAVES | {"protocol", "transport", "peer", "files"},
    "acme": LEAVES,
    # What gets a certificate knows cryptography; the relay knows only what the two tell each other.
    "relay": LEAVES
    | {"acme.interface", "transport", "protocol.escape", "protocol.limits", "protocol.rendezvous"},
    "load": LEAVES | {"transport", "protocol.limits", "protocol.rendezvous", "peer.backoff", "peer.failures"},
    "api": LEAVES | {"protocol", "transport", "peer", "files", "transfer", "relay"},
    # All that is about transfers goes through the API. Of what is below it the command line uses only how it finds its
    # own input: the user's directory for its configuration file, a line of standard input, and which of several
    # given proxies is meant for an address. The programs of a relay's operator use the relay: see `OPERATOR`.
    "cli": LEAVES
    | {"api", "__init__", "acme", "doctor", "relay", "load", "protocol.limits"}
    | {"files.stdio", "files.user_directories", "transport.address", "transport.proxy_address"},
    "testing": {"api"},
    "pytest_plugin": {"testing"},
}
"""For each folder what else of ours it may import, be it for type checkers only. A relay that may import neither keys
nor records nor messages nor files cannot read what passes."""

OPERATOR = {
    "cli.commands.relay_admin",
    "cli.commands.relay_load",
    "cli.commands.relay_server",
    "cli.commands.relay_token",
    "cli.options.completers",
    "cli.options.relay",
    "cli.options.relay_log",
    "cli.relay_commands",
    "cli.relay_service",
}
"""What runs a relay as a service, and talks to it: logs, systemd, sockets that are handed over, tokens, orders. A
program that wants a relay wants none of this, so `api.Relay` has none of it. `relay_commands` and `completers`
know their options and orders."""

WEBSOCKET_LIBRARIES = {"trio_websocket", "wsproto"}

ACME_LIBRARIES = {"acme", "josepy", "requests", "urllib3"}
"""Those of the extra `acme`, which many relays do without."""

PATH_MODULES = {"glob", "os.path", "pathlib", "shutil", "tempfile"}
ABOUT_NO_PATH = {
    "urandom",
    "environ",
    "fspath",
    "getpid",
    "name",
    "_exit",
    "close",
    "strerror",
    "O_NONBLOCK",
    "O_CLOEXEC",
    "SPLICE_F_NONBLOCK",
    "pipe2",
    "splice",
}
"""What every module may ask `os` for."""


@dataclass(frozen=True)
class Module:
    """One file of the package; names are relative to it: `protocol.wire`, `link`."""

    name: str
    tree: ast.Module
    runtime: frozenset[str] = field(default=frozenset())
    typing: frozenset[str] = field(default=frozenset())

    def ours(self, *, typing: bool = False) -> set[str]:
        """Return the modules of the package that this one imports."""
        imported = self.runtime | self.typing if typing else self.runtime
        found = (resolve(name) for name in imported if within(name, {PACKAGE}))
        return {name for name in found if name is not None}

    def foreign(self) -> set[str]:
        """Return what it imports from elsewhere, with all prefixes: `os.path` and `os`."""
        return {
            prefix
            for name in self.runtime | self.typing
            for prefix in prefixes(name)
            if not within(prefix, {PACKAGE})
        }


def prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def within(name: str, layers: set[str]) -> bool:
    return any(prefix in layers for prefix in prefixes(name))


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield everything that is imported; `from a import b` counts as `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole module"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def for_type_checkers(tree: ast.Module) -> Iterator[ast.If]:
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield node


@cache
def modules() -> dict[str, Module]:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        tree = ast.parse(text)
        typing = [imported for block in for_type_checkers(tree) for imported in imports(block)]
        everything = list(imports(tree))
        for imported in typing:
            everything.remove(imported)
        found[name] = Module(name, tree, frozenset(everything), frozenset(typing))
    return found


def resolve(imported: str) -> str | None:
    """Return the module of ours that an import names; None for the package itself."""
    name = imported.removeprefix(PACKAGE).removeprefix(".")
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name or None


def reached(start: str) -> set[str]:
    """Return what a module names, be it for type checkers, and all that comes along when it runs."""
    seen = {start} | modules()[start].ours(typing=True)
    waiting = list(seen)
    while waiting:
        new = modules()[waiting.pop()].ours() - seen
        seen |= new
        waiting += new
    return seen


def layer(name: str, layers: set[str]) -> str | None:
    return next((prefix for prefix in prefixes(name) if prefix in layers), None)


def in_layer(*layers: str) -> list[str]:
    return [name for name in modules() if within(name, set(layers))]


def outside(*layers: str) -> list[str]:
    return [name for name in modules() if not within(name, set(layers))]


EVERY_MODULE = pytest.mark.parametrize("name", modules())


@EVERY_MODULE
def test_a_folder_imports_only_what_its_row_allows(name: str) -> None:
    folder = name.partition(".")[0]
    allowed = MAY_IMPORT.get(folder, LEAVES if folder in LEAVES else None)
    if allowed is not None:
        used = {each for each in modules()[name].ours(typing=True) if not within(each, {folder})}
        assert not {each for each in used if not within(each, allowed)}


@pytest.mark.parametrize("name", outside("cli", "__main__"))
def test_only_the_command_line_knows_the_command_line(name: str) -> None:
    assert not {used for used in modules()[name].ours(typing=True) if within(used, {"cli"})}
    assert not modules()[name].foreign() & {"cyclopts", "rich"}


@pytest.mark.parametrize("name", in_layer("cli"))
def test_only_what_an_operator_runs_knows_the_relay(name: str) -> None:
    known = {used for used in modules()[name].ours(typing=True) if within(used, {"relay", "protocol"})}
    assert not known or name in OPERATOR


@pytest.mark.parametrize("name", in_layer("cli"))
def test_the_command_line_uses_the_api_as_a_program_does(name: str) -> None:
    """Nothing private of it, and of its classes and functions only those that are public."""
    tree = modules()[name].tree
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            is_own = isinstance(node.value, ast.Name) and node.value.id in {"self", "os", "cls"}
            assert is_own, f"line {node.lineno}: {ast.unparse(node)}"
    at_runtime = [used for used in imports(tree) if used in modules()[name].runtime]
    for used in at_runtime:
        if used.startswith(f"{PACKAGE}.api.") and not used.startswith(f"{PACKAGE}.api.events"):
            assert used.rpartition(".")[2] in p2p_copy.__all__


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Nor do they name each other's types in one."""
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name not in done:
            for used in sorted(modules()[name].ours(typing=True) - {name}):
                visit(used, (*way, name))
            done.add(name)

    for name in modules():
        visit(name, ())


@pytest.mark.parametrize("name", [*in_layer("protocol"), "peer.retry"])
def test_the_protocol_is_pure(name: str) -> None:
    module = modules()[name]
    # A session is used from two threads, and a lock is neither clock nor chance; what lies in memory is no file. The
    # public `Code.generate` names the system's randomness as the default of an argument.
    allowed = {
        "protocol.session": {"threading"},
        "protocol.records": {"io"},
        "protocol.code": {"secrets"},
    }
    assert not module.foreign() & IMPURE - allowed.get(name, set())
    kinds = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert not [node for node in ast.walk(module.tree) if isinstance(node, kinds)]


def test_the_messages_come_before_all_that_handles_them() -> None:
    assert modules()["protocol.messages"].ours(typing=True) <= {"value"}
    assert "protocol.messages" in modules()["protocol.wire"].ours()
    assert not modules()["protocol.wire"].ours() & set(in_layer("protocol")) - {
        "protocol.messages",
        "protocol.limits",
    }
    assert "protocol.wire" in modules()["protocol.session"].ours()


@pytest.mark.parametrize("name", in_layer("relay"))
def test_the_relay_knows_no_cryptography_either_through_what_it_imports(name: str) -> None:
    known = {used for used in reached(name) if within(used, {"protocol"})}
    assert known <= {"protocol.escape", "protocol.limits", "protocol.rendezvous"}
    assert not {imported for used in reached(name) for imported in modules()[used].foreign()} & {
        "cryptography"
    }


@pytest.mark.parametrize("name", ["acme.settings", "acme.interface"])
def test_what_a_relay_may_know_of_its_authority_reaches_no_cryptography(name: str) -> None:
    foreign = {imported for used in reached(name) for imported in modules()[used].foreign()}
    assert not foreign & {"cryptography", "ssl", "trio", *ACME_LIBRARIES}


@pytest.mark.parametrize("name", outside("acme.authority", "acme.order"))
def test_only_the_authoritys_client_knows_the_libraries_of_its_extra(name: str) -> None:
    assert not modules()[name].foreign() & ACME_LIBRARIES


@EVERY_MODULE
def test_only_the_adapter_knows_the_websocket_library_and_only_the_codec_wsproto(name: str) -> None:
    allowed = {"transport.websocket": {"trio_websocket", "wsproto"}, "transport.codec": {"wsproto"}}
    assert modules()[name].foreign() & WEBSOCKET_LIBRARIES <= allowed.get(name, set())


@pytest.mark.parametrize(
    "name",
    outside(
        "files",
        "cli",
        "acme",  # its own folder holds keys before there is a transfer, and knows nothing of transfers' files
        "relay.file_thread",
        "relay.entry.challenges",
        "relay.entry.listeners",
        "relay.system_limits",
        "relay.entry.tls",
        "transport.authorities",
    ),
)
def test_only_files_touches_paths(name: str) -> None:
    module = modules()[name]
    assert not module.foreign() & PATH_MODULES
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert node.attr in ABOUT_NO_PATH, f"line {node.lineno}: os.{node.attr}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "open", f"line {node.lineno}"


@pytest.mark.parametrize("name", outside("cli"))
def test_only_the_command_line_prints(name: str) -> None:
    for node in ast.walk(modules()[name].tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "input"}, f"line {node.lineno}"


@EVERY_MODULE
def test_what_is_public_is_described(name: str) -> None:
    tree = modules()[name].tree
    assert not tree.body or ast.get_docstring(tree), "a module says what it promises"
    assert not [bare.name for bare in public(tree) if not ast.get_docstring(bare)]


def public(
    node: ast.Module | ast.ClassDef,
) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for inner in node.body:
        if isinstance(
            inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        ) and not inner.name.startswith("_"):
            yield inner
            if isinstance(inner, ast.ClassDef):
                yield from public(inner)
