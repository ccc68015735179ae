"""`p2p-copy --install-completion`: writes a script for a shell, and a line that loads it where a shell needs one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from cyclopts.completion import ShellDetectionError, detect_shell

from p2p_copy import escape
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import UsageError

if TYPE_CHECKING:
    from cyclopts import App

Shell = Literal["bash", "fish", "zsh", "powershell"]

_STARTED_BY: Final = {"bash": "~/.bashrc", "zsh": "~/.zshrc", "powershell": "your profile"}
"""What gets a line that loads the script. fish finds it by itself."""


_FILES: Final = 'COMPREPLY=( $(compgen -f -- "${cur}") )'
_WHOLE_FILES: Final = (
    "compopt -o filenames 2>/dev/null; local IFS=$'\\n'; COMPREPLY=( $(compgen -f -- \"${cur}\") )"
)
"""How the library's script for bash completes files, and how it has to: names with blanks are whole names."""


def install_completion(shell: Shell | None, app: App) -> int:
    """Install completion for a shell, for this user; return exit code 0.

    Raises:
        UsageError: the shell is not known, or its files cannot be written.

    """
    try:
        shell = shell or detect_shell()
    except ShellDetectionError:
        raise UsageError(
            "Which shell? p2p-copy --install-completion bash, fish, zsh or powershell."
        ) from None
    try:
        path = app.install_completion(shell=shell)
        if shell == "bash":
            path.write_text(path.read_text(encoding="utf-8").replace(_FILES, _WHOLE_FILES), encoding="utf-8")
    except OSError as error:
        where = escape(str(error.filename or "a file"))
        raise UsageError(f"Completion was not installed: {where}: {error.strerror}.") from error
    terminal = Terminal.standard()
    loads = f" {_STARTED_BY[shell]} loads it." if shell in _STARTED_BY else ""
    terminal.result(f"Completion for {shell}: {escape(str(path))}.{loads} Open a new shell to use it.")
    terminal.finish()
    return 0
