"""`imager secureboot`: make keys, and check what was signed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imager.cli.options import Json

app = typer.Typer(no_args_is_help=True)


@app.command("gen-keys")
def gen_keys(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder that does not exist, or is empty.")
    ],
    common_name: Annotated[
        str, typer.Option("--common-name", help="Name in the certificates.")
    ] = "Talos SecureBoot",
) -> None:
    """Make the keys for SecureBoot and measured boot, and what enrols them, under Talos's names.

    Private keys are encrypted when the environment variable IMAGER_KEY_PASSPHRASE is set.
    """
    import datetime

    from imager.cli.secureboot_text import keys_text
    from imager.signing.keygen import generate_keys
    from imager.signing.signer import key_passphrase

    passphrase = key_passphrase()
    now = datetime.datetime.now(datetime.UTC)
    files = generate_keys(folder, common_name=common_name, passphrase=passphrase, now=now)
    typer.echo(keys_text(folder, files, encrypted=passphrase is not None))


@app.command()
def verify(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="An EFI binary, such as a UKI, an ISO or a raw disk."),
    ],
    cert: Annotated[
        list[Path] | None,
        typer.Option("--cert", help="Certificate to trust, PEM or DER; may be given again."),
    ] = None,
    json_output: Json = False,
) -> None:
    """Show every EFI binary with its signatures; fail unless all are signed and right.

    Without --cert, signatures must verify by the certificates that they come with, which anyone
    can make: it shows damage, not who signed.
    """
    from imager.cli.secureboot_text import report_json, report_text
    from imager.errors import InputError
    from imager.output.secureboot import inspect_image
    from imager.signing.certificates import load_certificates
    from imager.units import count

    trusted = [certificate for path in cert or () for certificate in load_certificates(path)]
    report = inspect_image(file, trusted=trusted)
    typer.echo(report_json(file, report) if json_output else report_text(report))
    if report.problems:
        lines = "".join(f"\n  {problem}" for problem in report.problems)
        raise InputError(f"{file}: {count(len(report.problems), 'problem')}{lines}")
