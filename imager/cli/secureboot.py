"""`imager secureboot`: generate keys, and check signed images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imager.cli.commands import App
from imager.cli.options import Results

app = App()


@app.command("gen-keys")
def gen_keys(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="New or empty folder for the keys.")
    ],
    common_name: Annotated[
        str,
        typer.Option(
            "--common-name", metavar="NAME", help="Common name of the signing certificate."
        ),
    ] = "Talos SecureBoot",
    *,
    display: Results,
) -> None:
    """Generate keys for SecureBoot and measured boot, and the files that enrol them.

    Names and forms are those that Talos's imager reads. If the environment variable
    IMAGER_KEY_PASSPHRASE is set, private keys are encrypted, and Talos's imager cannot read them.
    """
    import datetime

    from imager.cli.secureboot_text import keys_json, keys_text
    from imager.efi.keygen import generate_keys
    from imager.efi.signer import key_passphrase

    passphrase = key_passphrase()
    now = datetime.datetime.now(datetime.UTC)
    files = generate_keys(folder, common_name=common_name, passphrase=passphrase, now=now)
    encrypted = passphrase is not None
    display.summary(
        lambda: keys_text(folder, files, encrypted=encrypted),
        lambda: keys_json(folder, files, encrypted=encrypted),
    )


@app.command()
def verify(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="EFI binary (such as a UKI), ISO or raw disk image."),
    ],
    cert: Annotated[
        list[Path] | None,
        typer.Option("--cert", metavar="FILE", help="Certificate to trust, in PEM or DER."),
    ] = None,
    *,
    display: Results,
) -> None:
    """Check the signatures of every EFI binary in FILE; firmware has to accept all of them.

    Without --cert, a signature is checked against the certificate that it contains, which anyone
    can make: this detects damage, not who signed.
    """
    from imager.cli.secureboot_text import report_json, report_text
    from imager.efi.certificates import load_certificates
    from imager.image.inspect_secureboot import inspect_image
    from imager.support.errors import InputError
    from imager.support.units import count

    trusted = [certificate for path in cert or () for certificate in load_certificates(path)]
    report = inspect_image(file, trusted=trusted)
    display.summary(lambda: report_text(report), lambda: report_json(file, report))
    reporter = display.reporter()
    for warning in report.warnings:
        reporter.warn(f"{file}: {warning}")
    if report.problems:
        lines = "".join(f"\n  {problem}" for problem in report.problems)
        raise InputError(f"{file}: {count(len(report.problems), 'problem')}{lines}")
