"""Sends several paths at once under asyncio, each to a receiver of its own: python asyncio_progress.py RELAY PATH..."""

from __future__ import annotations

import asyncio
import sys

import p2p_copy as p2p


async def send(client: p2p.AsyncClient, path: str) -> None:
    """Send one of them, and show how far it is."""
    code = p2p.Code.generate()
    print(f"{path}: {code}", flush=True)
    async with client.open_send(path, code=code) as sending:
        async for event in sending.events():
            match event:
                case p2p.Paired():
                    print(f"{path}: the receiver is there")
                case p2p.Progress(size=size, total_size=total):
                    print(f"{path}: {size} of {total or '?'} bytes")
                case p2p.Stalled(sentence=sentence, seconds=seconds):
                    print(f"{path}: {sentence}, for {seconds:.0f} s")
    print(f"{path}: {sending.report.files} files are there, and verified")


async def main(relay: str, *paths: str) -> None:
    """Send all. The first failure cancels the others."""
    async with p2p.AsyncClient(relay) as client, asyncio.TaskGroup() as tasks:
        for path in paths:
            tasks.create_task(send(client, path))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
