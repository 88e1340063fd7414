"""`imager secureboot`: generate keys, and check signed images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from imager.cli.commands import App, raise_problems
from imager.cli.declare import argument, option
from imager.cli.options import Results

app = App()


@app.command("gen-keys")
def gen_keys(
    folder: Annotated[Path, argument("FOLDER", "New or empty folder for the keys.")],
    common_name: Annotated[
        str, option("NAME", "Common name of the signing certificate.")
    ] = "Talos SecureBoot",
    *,
    display: Results,
) -> None:
    """Generate keys for SecureBoot and measured boot, and the files that enrol them.

    File names and formats are those that Talos's imager reads. If the environment variable
    IMAGER_KEY_PASSPHRASE is set, private keys are encrypted, and Talos's imager cannot read them.
    """
    from imager.app.secureboot import generate_secure_boot_keys
    from imager.cli.secureboot_text import keys_json, keys_text

    display.summary(keys_text, keys_json, generate_secure_boot_keys(folder, common_name))


@app.command()
def verify(
    file: Annotated[Path, argument("FILE", "EFI binary (such as a UKI), ISO or raw disk image.")],
    cert: Annotated[
        list[Path] | None, option("FILE", "Certificate to trust, in PEM or DER.")
    ] = None,
    *,
    display: Results,
) -> None:
    """Check the signatures of every EFI binary in FILE; firmware must accept all of them.

    Without --cert, a signature is checked against the certificate that it contains, which anyone
    can make: this detects damage, not who signed.
    """
    from imager.app.secureboot import verify_signatures
    from imager.cli.secureboot_text import report_json, report_text

    report = verify_signatures(file, cert or ())
    display.summary(report_text, report_json, file, report)
    display.reporter().warn(*(f"{file}: {warning}" for warning in report.warnings))
    raise_problems(file, report.problems)
