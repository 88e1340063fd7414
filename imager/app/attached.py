"""The artifacts that are attached to published outputs: their files, and which are the newest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from imager.image.published import is_artifact_type
from imager.oci.artifact import TITLE
from imager.oci.digest import Digest
from imager.oci.documents import load_fields
from imager.oci.endpoint import Endpoint
from imager.oci.errors import InvalidArtifactError
from imager.oci.manifest import Descriptor, ImageManifest, Index, RawManifest
from imager.oci.referrers import subject_of
from imager.oci.remote import RemoteImage
from imager.support.errors import DependencyError, InputError, UnsupportedError
from imager.support.reporter import Reporter

# OCI image specification 1.1, annotations.md: a time of RFC 3339.
CREATED = "org.opencontainers.image.created"
_MOST_ATTACHED = 100
UNDATED = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Attached:
    """The manifests in the repository of `image` whose subject is `subject`."""

    image: RemoteImage
    host: Endpoint
    subject: Digest

    def manifests(self, reporter: Reporter) -> Iterator[RawManifest]:
        """Yield the artifacts with named files that may lie beside an output.

        Raises InvalidArtifactError for too many of them.
        """
        found = {each.digest: each for each in self._entries(reporter)}.values()
        known = [each for each in found if is_artifact_type(each.artifact_type)]
        if len(known) > _MOST_ATTACHED:
            raise InvalidArtifactError(
                f"{self.image.reference} has {len(known)} attached files, more than "
                f"{_MOST_ATTACHED}",
                hint="fetch the outputs alone with --no-beside",
            )
        for each in known:
            manifest = self.image.manifest(each.digest)
            # Signatures of other tools have no name.
            if subject_of(manifest) == self.subject and named_layers(manifest):
                yield manifest

    def _entries(self, reporter: Reporter) -> Iterator[Descriptor]:
        """Yield the entries of the host's list and of the list under the fallback tag."""
        try:
            yield from self.image.referrers(self.subject, self.host)
        except (InputError, UnsupportedError, DependencyError) as error:
            # Some registries refuse paths that they do not know.
            reporter.warn(f"attached files may be missing: {error.message}")
        tag = replace(self.image.reference, tag=self.subject.file_name, digest=None)
        tagged = replace(self.image, reference=tag).find_at(self.host)
        if tagged is not None and isinstance(tagged.document, Index):
            yield from tagged.document.manifests


def named_layers(manifest: RawManifest) -> tuple[Descriptor, ...]:
    """Return the layers that are files: those with a name, as for oras."""
    document = manifest.document
    layers = document.layers if isinstance(document, ImageManifest) else ()
    return tuple(layer for layer in layers if layer.annotation(TITLE))


def created(manifest: RawManifest) -> datetime:
    """Return when an artifact was made; one that does not tell is older than all others."""
    annotations = load_fields(manifest.raw, where="manifest").child("annotations")
    try:
        found = datetime.fromisoformat(annotations.text(CREATED) if annotations else "")
    except (ValueError, InputError):
        return UNDATED
    return found if found.tzinfo else UNDATED
