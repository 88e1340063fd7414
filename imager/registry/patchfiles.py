"""Talos patch files that are written by default, as talosctl does."""

from __future__ import annotations

import os
from pathlib import Path

from imager.support.atomic import write_atomic
from imager.support.errors import AlreadyExistsError, HostError

MIRRORS = Path("image-cache-mirrors-patch.yaml")
TRUSTED_ROOTS = Path("image-cache-patch.yaml")


def require_same(path: Path, text: str) -> None:
    """Raise InputError if `path` has other contents than `text`, or is not a regular file."""
    if os.path.lexists(path) and not _is_file_of(path, text.encode()):
        raise AlreadyExistsError(
            f"{path} exists already, with other contents", hint="remove it, or name another file"
        )


def _is_file_of(path: Path, data: bytes) -> bool:
    try:
        # Reading a pipe would block.
        return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def write_patch(path: Path, text: str) -> None:
    """Write `text` to `path` in one step; raises HostError."""
    try:
        write_atomic(path, text.encode())
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}") from error


def trusted_roots(certificates: str) -> str:
    """Return the YAML document that makes Talos trust the authority with `certificates` in PEM."""
    lines = "".join(f"    {line}\n" for line in certificates.splitlines())
    return (
        "apiVersion: v1alpha1\nkind: TrustedRootsConfig\nname: image-cache-ca\n"
        f"certificates: |\n{lines}"
    )
