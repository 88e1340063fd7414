"""Define the options for what comes with an output: bills, provenance, checksums, signatures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from imager.cli.declare import flag, option

if TYPE_CHECKING:
    from imager.app.release.options import Release
    from imager.cli.output_options import Output

_SBOMS = ("spdx", "cyclonedx")
_LOCAL = "urn:imager:builder:local"


@dataclass(frozen=True, slots=True)
class ReleaseFiles:
    """The options for files that come with an output."""

    PANEL: ClassVar[str] = "Release"

    release: Annotated[
        bool,
        flag(
            "--release", "Both kinds of --sbom, --provenance, --checksums, and --bmap for a medium."
        ),
    ] = False
    sbom: Annotated[
        list[str] | None,
        option(
            "FORMAT",
            "Also write a bill of materials: spdx (OUTPUT.spdx.json) or cyclonedx "
            "(OUTPUT.cdx.json); may be repeated.",
        ),
    ] = None
    provenance: Annotated[
        bool, flag("--provenance", "Also write OUTPUT.provenance.json: how it was made (SLSA 1.0).")
    ] = False
    checksums: Annotated[
        bool,
        flag("--checksums", "Also write SHA256SUMS for all files written, and print the SHA-256."),
    ] = False
    sign_key: Annotated[
        str | None,
        option(
            "FILE|URI",
            "Sign all files but SHA256SUMS with this key, a PEM file or pkcs11: URI; each gets a "
            "FILE.sigstore.json, as cosign makes it.",
        ),
    ] = None
    builder_id: Annotated[
        str | None,
        option("URI", "Builder to name in the provenance, such as a pipeline.", default=_LOCAL),
    ] = None

    def chosen(self) -> Release:
        """Return what comes with the output."""
        from imager.app.release.options import LOCAL_BUILDER, Release, SbomFormat

        sboms = tuple(each for each in SbomFormat if self.release or each.value in self._sboms)
        return Release(
            sboms=sboms,
            provenance=self.provenance or self.release,
            checksums=self.checksums or self.release,
            medium_bmap=self.release,
            sign_key=self.sign_key or "",
            builder=self.builder_id or LOCAL_BUILDER,
        )

    @property
    def _sboms(self) -> list[str]:
        """The names of the formats, which may also be separated by commas."""
        return [name for text in self.sbom or () for name in text.split(",")]

    def problems(self, output: Output) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with these options and those of the output, each with a hint."""
        given = [
            name
            for name, value in {
                "--release": self.release,
                "--sbom": self.sbom,
                "--provenance": self.provenance,
                "--checksums": self.checksums,
                "--sign-key": self.sign_key,
            }.items()
            if value
        ]
        if wrong := [name for name in self._sboms if name not in _SBOMS]:
            yield f"--sbom {wrong[0]}: no such format", f"choose {' or '.join(_SBOMS)}"
        if self.builder_id and not (self.provenance or self.release):
            yield "--builder-id is part of a provenance", "add --provenance"
        if not given:
            return
        places = {"--output-device": output.output_device, "--push": output.push}
        elsewhere = output.sent or next((name for name, value in places.items() if value), "")
        if elsewhere:
            yield (
                f"{', '.join(given)}: the files are written beside an output, and {elsewhere}"
                " writes none",
                "write the output to a file",
            )
        if not output.verify and (self.sbom or self.release):
            yield (
                "--no-verify: a bill of materials names the digests of blobs, which must be right",
                "omit --no-verify",
            )
