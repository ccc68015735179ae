"""The real Caddy with contrib/caddy, in front of two relays."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.contrib.programs import CONTRIB, check, free_port, need, replaced, serving
from tests.support.processes import relay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def running_caddy(folder: Path, *options: str) -> Iterator[str]:
    """Run two relays with these options behind Caddy, or skip without it; yield the address of its host and port."""
    caddy = need("caddy")
    port = free_port()
    options = ("--no-tls", "--trusted-proxy", "127.0.0.1", *options)
    with relay(*options) as (one, _), relay(*options) as (other, _):
        # Without a public name Caddy would want to put an authority of its own into the system, so: without TLS.
        places = {
            "127.0.0.1:8765": one.removeprefix("ws://"),
            "127.0.0.1:8766": other.removeprefix("ws://"),
            "relay.example {": f"http://127.0.0.1:{port} {{",
        }
        text = replaced((CONTRIB / "caddy" / "Caddyfile").read_text(), places)
        config = folder / "Caddyfile"
        config.write_text(f"{{\n\tadmin off\n}}\n{text}")
        home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        check(caddy, "validate", "--config", config, "--adapter", "caddyfile", **home)
        words = [caddy, "run", "--config", str(config), "--adapter", "caddyfile"]
        with serving(words, port, folder / "log", **home):
            yield f"127.0.0.1:{port}"
