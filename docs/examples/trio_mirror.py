"""Sends a directory to several receivers at once, each by a code of its own: python trio_mirror.py RELAY PATH COUNT."""

from __future__ import annotations

import sys

import trio

import p2p_copy as p2p


async def send_one(client: p2p.AsyncClient, path: str, code: p2p.Code) -> None:
    """Send to one receiver. A failure is printed, and does not end the others."""
    try:
        report = await client.send(path, code=code)
    except p2p.P2PCopyError as error:
        print(f"{code.room}: {error}")
    else:
        print(f"{code.room}: {report.files} files, digest {report.root[:16]}")


async def main(relay: str, path: str, count: int) -> None:
    """Print the codes, and send until all receivers have come."""
    async with p2p.AsyncClient(relay=relay) as client, trio.open_nursery() as nursery:
        for _ in range(count):
            code = p2p.Code.generate()
            print(f"Code: {code}", flush=True)
            nursery.start_soon(send_one, client, path, code)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
