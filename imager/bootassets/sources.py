"""`sources.json`: the record of the packages that a set of boot assets was built from.

    {"schema": 1, "arch": "amd64", "suite": "bookworm", "epoch": 1704067200,
     "packages": [{"name", "version", "size", "sha256"}],
     "assets": {"vmlinuz": {"size", "sha256"}}}

Sizes are bytes, digests hexadecimal. The packages make it a lock file: the same set can be built
from them again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from imager.bootassets.debian import SUITE, DebianPackage
from imager.bootassets.errors import BootAssetError
from imager.support.arch import Arch

RECORD = "sources.json"
_SCHEMA = 1
_LARGEST = 1 << 20


def record_text(
    arch: Arch, *, epoch: int, packages: Sequence[DebianPackage], assets: Mapping[str, bytes]
) -> str:
    """Return the record of `assets` (name to contents), built from `packages` at `epoch`."""
    record = {
        "schema": _SCHEMA,
        "arch": arch.name,
        "suite": SUITE,
        "epoch": epoch,
        "packages": [asdict(package) for package in packages],
        "assets": {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in assets.items()
        },
    }
    return json.dumps(record, indent=2) + "\n"


def read_lock(path: Path, arch: Arch) -> tuple[DebianPackage, ...]:
    """Return the packages in the record `path`.

    Raises InputError if it is missing, invalid, or for another architecture.
    """
    hint = "make one with `imager assets fetch`, without --locked"
    try:
        with path.open("rb") as file:
            record = json.loads(file.read(_LARGEST))
        if record["schema"] != _SCHEMA:
            raise ValueError(f"schema {record['schema']!r} is unknown")
        if record["arch"] != arch.name:
            raise ValueError(f"it is for {record['arch']!r}, not for {arch.name}")
        return tuple(
            DebianPackage(str(p["name"]), str(p["version"]), int(p["size"]), str(p["sha256"]))
            for p in record["packages"]
        )
    except OSError as error:
        raise BootAssetError(f"{path}: {error.strerror}", hint=hint) from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BootAssetError(f"{path}: not a lock of boot assets: {error}", hint=hint) from error
