"""Options for what comes with an output, and the paths of its files."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from imager.image.write import bmap_path
from imager.support.errors import DependencyError
from imager.support.sums import SUMS

if TYPE_CHECKING:
    from imager.app.lock.inputs import BuildInput

LOCAL_BUILDER = "urn:imager:builder:local"


class SbomFormat(enum.Enum):
    """A format of bills of materials; the value is that of the option."""

    SPDX = "spdx"
    CYCLONEDX = "cyclonedx"


_SUFFIXES = {SbomFormat.SPDX: ".spdx.json", SbomFormat.CYCLONEDX: ".cdx.json"}
# The module that makes each, and the package that has it.
_LIBRARIES = {
    SbomFormat.SPDX: ("spdx_tools", "spdx-tools"),
    SbomFormat.CYCLONEDX: ("cyclonedx", "cyclonedx-python-lib"),
}


@dataclass(frozen=True, slots=True)
class Release:
    """What comes with an output: bills of materials, provenance, checksums, signatures.

    With `medium_bmap`, an ISO, a stick or a raw disk also gets a bmap. `sign_key` is a PEM file or
    a PKCS #11 URI; it signs the output and each of the other files. `builder` is the URI of the
    builder in the provenance. `inputs` are those of the build that were resolved before it, to
    be listed with those that its plan knows.
    """

    sboms: tuple[SbomFormat, ...] = ()
    provenance: bool = False
    checksums: bool = False
    medium_bmap: bool = False
    sign_key: str = ""
    builder: str = LOCAL_BUILDER
    inputs: tuple[BuildInput, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing comes with the output, but for a bmap."""
        return not (self.sboms or self.provenance or self.checksums or self.sign_key)

    @property
    def lists_inputs(self) -> bool:
        """Whether a file lists the inputs of the build."""
        return bool(self.sboms) or self.provenance

    def paths(self, output: Path, *, with_bmap: bool) -> tuple[Path, ...]:
        """Return the files that are made for `output`; SHA256SUMS, which is shared, is the last."""
        made = [bmap_path(output)] if with_bmap else []
        made += [bill_path(output, each) for each in self.sboms]
        if self.provenance:
            made.append(provenance_path(output))
        if self.sign_key:
            made += [signature_path(path) for path in (output, *made)]
        return (*made, output.with_name(SUMS)) if self.checksums else tuple(made)

    def require_libraries(self) -> None:
        """Raise DependencyError if a library for a bill of materials is not installed."""
        for each in self.sboms:
            module, package = _LIBRARIES[each]
            if find_spec(module) is None:
                raise DependencyError(
                    f"--sbom {each.value} needs the Python package {package}, which is not"
                    " installed",
                    hint=f"pip install {package}",
                )


def bill_path(output: Path, sbom: SbomFormat) -> Path:
    """Return the path of a bill of materials."""
    return _beside(output, _SUFFIXES[sbom])


def provenance_path(output: Path) -> Path:
    """Return the path of the provenance of an output."""
    return _beside(output, ".provenance.json")


def signature_path(path: Path) -> Path:
    """Return the path of the signature of a file."""
    return _beside(path, ".sigstore.json")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}{suffix}")
