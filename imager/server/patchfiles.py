"""Patch files for Talos that are written by default, as talosctl writes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imager.errors import HostError, InputError
from imager.workspace import atomic_file

MIRRORS = Path("image-cache-mirrors-patch.yaml")
TRUSTED_ROOTS = Path("image-cache-patch.yaml")


def require_same(path: Path, text: str) -> None:
    """Raise InputError if the file at `path` has other contents, or cannot be read."""
    try:
        is_other = path.exists() and path.read_text("utf-8") != text
    except (OSError, UnicodeDecodeError):
        is_other = True
    if is_other:
        raise InputError(
            f"{path} exists already, with other contents", hint="remove it, or name another file"
        )


def write_patch(path: Path, text: str) -> None:
    """Write `text` to `path` in one step; raises HostError."""
    try:
        with (
            atomic_file(path) as descriptor,
            open(descriptor, "w", encoding="utf-8", closefd=False) as file,
        ):
            file.write(text)
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class TrustedRoots:
    """The document that makes Talos trust an authority: `certificates` in PEM."""

    certificates: str

    @property
    def text(self) -> str:
        """The document in YAML."""
        lines = "".join(f"    {line}\n" for line in self.certificates.splitlines())
        return (
            "apiVersion: v1alpha1\nkind: TrustedRootsConfig\nname: image-cache-ca\n"
            f"certificates: |\n{lines}"
        )
