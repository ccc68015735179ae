"""A server under asyncio to which people upload by a code: python asyncio_uploads.py RELAY DIRECTORY.

Who connects to its port gets a line with a code, sends with it, and gets a line with the result. A web framework's
handler would do the same. An upload ends when its client disconnects; the server ends with Ctrl-C.
"""

from __future__ import annotations

import asyncio
import sys

import p2p_copy as p2p

MOST = 100_000_000
"""Bytes of one upload."""


def acceptable(offer: p2p.TransferPreview) -> bool:
    """Answer whether an upload is taken. The sender's numbers are claims; `max_size` holds in any case."""
    return offer.fits and offer.names == 1


async def upload(client: p2p.AsyncClient, directory: str, writer: asyncio.StreamWriter) -> None:
    """Receive one upload."""
    code = p2p.Code.generate()
    writer.write(f"{code}\n".encode())
    try:
        report = await client.receive(
            f"{directory}/{code.room}", code=code, accept=acceptable, max_size=MOST, wait=600
        )
        writer.write(f"Received {report.files} files.\n".encode())
    except p2p.P2PCopyError as error:
        writer.write(f"{error}\n".encode())


async def serve(
    client: p2p.AsyncClient, directory: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serve one visitor, until its upload is over or it disconnects."""
    uploading = asyncio.create_task(upload(client, directory, writer))
    leaving = asyncio.create_task(reader.read())
    try:
        await asyncio.wait((uploading, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (uploading, leaving):
            task.cancel()
        await asyncio.wait((uploading, leaving))
        writer.close()


async def main(relay: str, directory: str) -> None:
    """Serve until this is cancelled."""
    async with p2p.AsyncClient(relay=relay) as client, asyncio.TaskGroup() as visitors:

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            visitors.create_task(serve(client, directory, reader, writer))

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        print(f"Port: {server.sockets[0].getsockname()[1]}", flush=True)
        try:
            await asyncio.Event().wait()  # for ever
        finally:
            server.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
