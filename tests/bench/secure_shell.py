"""scp and rsync to an sshd at a loopback port, with keys made only for it."""

from __future__ import annotations

import getpass
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.contestants import Contestant
from tests.bench.runs import HOST, Client, Failed, Place, Run, free_port, serving, started, variables, wait

if TYPE_CHECKING:
    from collections.abc import Sequence

SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"
"""Path of sshd, which few users have in PATH."""

CONFIG = """\
ListenAddress {host}:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""
"""The folder is in a directory that others can write to, which StrictModes refuses."""


class Shell:
    """Keys and configuration of an sshd, and how to reach it.

    Raises:
        Failed: there is none here, or it does not like its configuration.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = shutil.which("sshd", path=SYSTEM)
        if found is None or shutil.which("ssh") is None:
            raise Failed("there is no OpenSSH server and client here")
        self._sshd = found
        self.port = free_port()
        folder.mkdir(mode=0o700)
        for name in ("host", "user"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
        host_key = (folder / "host.pub").read_text(encoding="ascii")
        (folder / "known").write_text(f"[{HOST}]:{self.port} {host_key}", encoding="ascii")
        config = CONFIG.format(host=HOST, port=self.port, folder=folder)
        (folder / "config").write_text(config, encoding="utf-8")
        self._check()

    def _check(self) -> None:
        """Check that sshd can start; make the empty directory that it needs and that the system makes at boot."""
        try:
            _run(*self.server, "-t")
        except Failed as failed:
            missing = re.search(r"Missing privilege separation directory: (\S+)", str(failed))
            if missing is None:
                raise
            Path(missing[1]).mkdir(mode=0o755)
            _run(*self.server, "-t")

    @property
    def server(self) -> Sequence[str]:
        return self._sshd, "-D", "-e", "-f", str(self.folder / "config")

    @property
    def options(self) -> Sequence[str]:
        """The options with which ssh and scp reach it, whatever the user's own configuration says."""
        known = f"UserKnownHostsFile={self.folder / 'known'}"
        identity = ("-i", str(self.folder / "user"), "-o", "IdentitiesOnly=yes")
        return "-F", "none", *identity, "-o", known, "-o", f"Port={self.port}", "-o", "BatchMode=yes"

    def run(self, words: Sequence[str], folder: Path) -> Run:
        """Run a client that copies; the server and its children count as the receiver."""
        with serving(self.server, folder, variables(), self.port, Place()) as server, started() as clients:
            clients.append(Client(words, folder, variables()))
            (sender,) = wait(clients)
            return Run(sender, server.used()._replace(began=sender.began, ended=sender.ended))


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{Path(words[0]).name}: {done.stderr.strip()}")


def _target(out: Path) -> str:
    return f"{getpass.getuser()}@{HOST}:{out}/"


class Scp(Contestant):
    name = "scp"

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def copy(self, source: Path, outs: Sequence[Path], folder: Path, *, receiver_waits: bool = False) -> Run:
        (out,) = outs
        return self._shell.run(["scp", "-q", "-r", *self._shell.options, str(source), _target(out)], folder)


class Rsync(Contestant):
    """`rsync -a` over ssh."""

    name = "rsync -a"

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        if shutil.which("rsync") is None:
            raise Failed("there is no rsync here")

    def copy(self, source: Path, outs: Sequence[Path], folder: Path, *, receiver_waits: bool = False) -> Run:
        (out,) = outs
        remote = shlex.join(["ssh", *self._shell.options])
        return self._shell.run(["rsync", "-a", "-e", remote, str(source), _target(out)], folder)
