"""The files of keys and certificates for SecureBoot, with Talos's names.

uki-signing-key.pem uki-signing-cert.pem    sign the loader and the UKI
pcr-signing-key.pem                         signs the policies for the TPM
PK.auth KEK.auth db.auth                    all three, or none to create them with the signing key
well-known/db/ well-known/KEK/              additional third-party certificates to trust
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_FOLDER = Path("/secureboot")
WELL_KNOWN = "well-known"


@dataclass(frozen=True, slots=True)
class SecureBootFiles:
    """The paths of keys and certificates; `variables` are PK.auth, KEK.auth and db.auth.

    `well_known` is the folder of additional third-party certificates to trust.
    """

    key: Path
    certificate: Path
    pcr_key: Path
    variables: tuple[Path, Path, Path]
    well_known: Path | None = None

    @classmethod
    def in_folder(cls, folder: Path) -> SecureBootFiles:
        """Return the files in `folder` with their standard names."""
        return cls(
            folder / "uki-signing-key.pem",
            folder / "uki-signing-cert.pem",
            folder / "pcr-signing-key.pem",
            (folder / "PK.auth", folder / "KEK.auth", folder / "db.auth"),
        )
