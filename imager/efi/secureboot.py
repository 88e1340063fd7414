"""Load everything needed to sign a SecureBoot output, from files: see `keyfiles`."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imager.efi.databases import accepts
from imager.efi.efivars import Variable
from imager.efi.enrollment import enrollment, enrollment_problems, load_auth, load_well_known
from imager.efi.errors import InvalidKeyError
from imager.efi.keyfiles import DEFAULT_FOLDER, SecureBootFiles
from imager.efi.signer import KeySigner, Signer, load_key, load_signer
from imager.support.errors import InputError

_VARIABLES = (Variable.PK, Variable.KEK, Variable.DB)


@dataclass(frozen=True, slots=True)
class SecureBoot:
    """The signers, and the contents of `<name>.auth` for firmware to enroll, by name."""

    signer: Signer
    pcr_signer: KeySigner
    variables: Mapping[str, bytes]


def load_secure_boot(
    files: SecureBootFiles,
    *,
    now: datetime.datetime,
    timestamp: int | None = None,
    signer: Signer | None = None,
    pcr_signer: KeySigner | None = None,
) -> tuple[SecureBoot, tuple[str, ...]]:
    """Load `files`, and return warnings about them.

    `signer` and `pcr_signer`, whose keys are elsewhere, take the place of the files. `timestamp`
    is as for `enrollment`. Warns about
    keys readable by other users, and about certificates that are not valid at `now`.
    Raises InputError for files that are missing or of the wrong kind, and for .auth files that
    are incomplete, that firmware would reject, or that do not allow what the signer signs. Raises
    UnsupportedError for keys that firmware cannot verify.
    """
    warnings: tuple[str, ...] = ()
    if signer is None:
        _check_folder(files.key.parent)
        signer, warnings = load_signer(files.key, files.certificate, now=now)
    if pcr_signer is None:
        pcr_signer, pcr_warnings = load_key(files.pcr_key)
        warnings = (*warnings, *pcr_warnings)
    present = [path for path in files.variables if path.exists()]
    if present and len(present) < len(files.variables):
        missing = next(path for path in files.variables if path not in present)
        raise InvalidKeyError(
            f"{missing} is missing, but {present[0]} exists",
            hint="give all of PK.auth, KEK.auth and db.auth, or none to create all of them",
        )
    if present and files.well_known:
        raise InputError(
            f"{present[0]} is used unchanged, so well-known certificates cannot be added",
            hint="remove PK.auth, KEK.auth and db.auth, or leave well-known certificates out",
        )
    variables = _given(files, signer) if present else _made(files, signer, timestamp)
    return SecureBoot(signer, pcr_signer, variables), warnings


def _check_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    wanted = Path("keys") if folder == DEFAULT_FOLDER else folder
    name = shlex.quote(str(wanted))
    given = f", and pass --secureboot-dir {name}" if folder == DEFAULT_FOLDER else ""
    raise InvalidKeyError(
        f"the folder of SecureBoot keys {folder} does not exist",
        hint=f"make keys: `imager secureboot gen-keys {name}`{given}",
    )


def _given(files: SecureBootFiles, signer: Signer) -> dict[str, bytes]:
    paths = dict(zip(_VARIABLES, files.variables, strict=True))
    pk, kek, db = (load_auth(variable, path) for variable, path in paths.items())
    problems = list(enrollment_problems(pk, kek, db))
    if not accepts(db, signer.certificate):
        problems.append(f"db does not contain the certificate {files.certificate}")
    if problems:
        raise InvalidKeyError(
            f"{files.variables[0].parent}: firmware would not boot with these keys: "
            f"{'; '.join(problems)}",
            hint="remove PK.auth, KEK.auth and db.auth to create them again, or make new keys with"
            " `imager secureboot gen-keys`",
        )
    return {variable.value: path.read_bytes() for variable, path in paths.items()}


def _made(files: SecureBootFiles, signer: Signer, timestamp: int | None) -> dict[str, bytes]:
    extra = load_well_known(files.well_known) if files.well_known else {}
    made = enrollment(signer, timestamp=timestamp, extra=extra)
    return {variable.value: value.auth for variable, value in made.items()}
