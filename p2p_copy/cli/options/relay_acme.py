"""The options of `run-relay-server` for a certificate that the relay gets by itself. Imports nothing slow."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from p2p_copy.cli.options.groups import ACME
from p2p_copy.cli.options.values import PATH, PathText
from p2p_copy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from p2p_copy.acme.settings import AcmeSettings

_FOLDER: Final = "acme"
"""The folder of account and certificates, below the directory of the relay's state."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class RelayAcme:
    """For which names to get a certificate, from which authority."""

    acme: Annotated[
        tuple[str, ...],
        ACME,
        Parameter(
            metavar="NAME",
            negative="",
            help="Get a certificate for this name or IP address, and renew it; you agree to the authority's terms. The "
            "relay needs port 443 there, and p2p-copy[acme]. May be repeated.",
            show_default=False,
        ),
    ] = ()
    acme_email: Annotated[
        str | None, ACME, Parameter(metavar="ADDRESS", help="Where the authority may write to.")
    ] = None
    acme_directory: Annotated[
        str,
        ACME,
        Parameter(
            metavar="URL",
            help="The authority: letsencrypt, letsencrypt-staging for tries, or the https address of its directory.",
        ),
    ] = "letsencrypt"
    acme_dir: Annotated[
        PathText | None,
        PATH,
        ACME,
        Parameter(
            metavar="DIR",
            help="Where account, keys and certificates are kept, for the relay's user only. Default: acme in "
            "$STATE_DIRECTORY, which systemd sets, else in the directory of your state.",
        ),
    ] = None
    acme_profile: Annotated[
        str | None,
        ACME,
        Parameter(
            metavar="WORD",
            help="Kind of certificate, of those that the authority offers. Let's Encrypt gives an IP address only "
            "shortlived ones.",
        ),
    ] = None
    acme_eab_kid: Annotated[
        str | None,
        ACME,
        Parameter(
            metavar="ID",
            help="Name of your account at an authority that wants one (external account binding).",
        ),
    ] = None
    acme_eab_key_file: Annotated[
        PathText | None, PATH, ACME, Parameter(metavar="FILE", help="File with the key of that account.")
    ] = None
    acme_ca_file: Annotated[
        PathText | None,
        PATH,
        ACME,
        Parameter(
            metavar="FILE",
            help="Who vouches for the server of the authority, PEM; for one of your own network.",
        ),
    ] = None

    def settings(self, environ: Mapping[str, str]) -> AcmeSettings | None:
        """Return the settings of the keeper of the certificate; None without `--acme`.

        Raises:
            UsageError: a value cannot be used, or has no effect because no name is given.

        """
        if not self.acme:
            given = [each.name for each in fields(self) if getattr(self, each.name) != each.default]
            if given:
                raise UsageError(f"`{given[0]}` has no effect without `acme`, which names the relay.")
            return None
        from p2p_copy.acme.settings import AcmeSettings
        from p2p_copy.cli.options.inputs import first_line_of

        key_file = self.acme_eab_key_file
        return AcmeSettings(
            names=self.acme,
            folder=self._folder(environ),
            email=self.acme_email,
            directory=self.acme_directory,
            profile=self.acme_profile,
            eab_kid=self.acme_eab_kid,
            eab_key=first_line_of(key_file, "key") if key_file else None,
            ca_file=Path(self.acme_ca_file).absolute() if self.acme_ca_file else None,
        )

    def _folder(self, environ: Mapping[str, str]) -> Path:
        if self.acme_dir:
            return Path(self.acme_dir).absolute()
        from p2p_copy import default_state_dir

        # systemd.exec(5): several directories are separated by colons.
        state = environ.get("STATE_DIRECTORY", "").partition(":")[0] or default_state_dir()
        if not os.path.isabs(state):
            raise UsageError(
                "There is no directory in which the relay could keep its certificate: this user has no home directory. "
                "Name one with `acme_dir`."
            )
        return Path(state, _FOLDER)


NO_ACME: Final = RelayAcme()
