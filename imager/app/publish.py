"""Publish outputs in a registry, with what lies beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from imager.app.attached import CREATED, UNDATED, Attached, created, named_layers
from imager.image.published import (
    ARTIFACT_TYPE,
    check_sums,
    kind_beside,
    media_type,
    names_beside,
)
from imager.oci.artifact import TITLE, Artifact, ArtifactFile, hashed_file, is_title, unique_blobs
from imager.oci.attach import extended_index, tagged_index
from imager.oci.manifest import RawManifest
from imager.oci.platform import Platform
from imager.oci.push import Pushed, PushOptions, PushPlan, push
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.settings import RegistrySettings
from imager.support.errors import InputError
from imager.support.reporter import QUIET, Reporter
from imager.support.sums import SUMS
from imager.support.workers import Work


@dataclass(frozen=True, slots=True)
class PublishOutputs:
    """Outputs to publish as `reference`, and what lies beside them with `beside`.

    A file in `outputs` that lies beside another one is attached to it in any case. With
    `platform`, `reference` becomes an index, in which they take the place of that platform.
    """

    outputs: Sequence[Path]
    reference: str
    platform: Platform | None = None
    beside: bool = True
    options: PushOptions = field(default_factory=PushOptions)
    registries: RegistrySettings = field(default_factory=RegistrySettings)


@dataclass(frozen=True, slots=True)
class Published:
    """What was pushed: the names of the files, and of those attached to them."""

    pushed: Pushed
    files: tuple[ArtifactFile, ...]
    attached: tuple[ArtifactFile, ...]


def publish_outputs(wanted: PublishOutputs, reporter: Reporter = QUIET) -> Published:
    """Push outputs as an OCI artifact with a layer for each file, and attach what lies beside.

    Raises InputError for missing files, names that `fetch_outputs` would refuse, an outdated
    SHA256SUMS, and a reference that is invalid; DependencyError if the registry fails.
    """
    target = Reference.parse_strict(wanted.reference)
    outputs, beside = _sorted(wanted.outputs, also_found=wanted.beside)
    files, attached = _read(outputs, beside, wanted.options.jobs, reporter)
    for path in beside:
        if path.name == SUMS:
            check_sums(path, ((each.title, each.digest.hex) for each in (*files, *attached)))
    artifact = Artifact(ARTIFACT_TYPE, files)
    root = artifact.manifest()
    client = RegistryClient.from_settings(wanted.registries)
    there = _attached_before(root, target, client, reporter) if beside else {}
    notes = [
        _note(kind_beside(path).artifact_type, file, root, there.get(file.title, ()))
        for path, file in zip(beside, attached, strict=True)
    ]
    plan = PushPlan(
        unique_blobs([artifact, *notes]),
        (root, *_index(root, wanted.platform, target, client)),
        tuple(note.manifest() for note in notes),
    )
    pushed = push(plan, target, client=client, options=wanted.options, reporter=reporter)
    return Published(pushed, files, attached)


def _attached_before(
    root: RawManifest, target: Reference, client: RegistryClient, reporter: Reporter
) -> dict[str, list[RawManifest]]:
    """Return what is attached to `root` in the registry already, by the names of the files."""
    image = client.image(replace(target, tag="", digest=root.digest))
    host = client.endpoints(target.registry)[-1]
    found: dict[str, list[RawManifest]] = {}
    if image.find_at(host) is None:
        return found
    for manifest in Attached(image, host, root.digest).manifests(reporter):
        for layer in named_layers(manifest):
            found.setdefault(layer.annotation(TITLE), []).append(manifest)
    return found


def _note(
    kind: str, file: ArtifactFile, root: RawManifest, there: Sequence[RawManifest]
) -> Artifact:
    """Return the artifact of an attached file, dated if others of its name are `there`.

    The newest of a name is fetched. One that is the newest already is pushed as it is there.
    """
    dates = {}
    if there:
        last = max(map(created, there))
        newest = [each for each in there if created(each) == last]
        is_same = all(
            [layer.digest for layer in named_layers(each)] == [file.digest] for each in newest
        )
        time = last if is_same else datetime.now(UTC)
        dates = {CREATED: time.isoformat()} if time > UNDATED else {}
    return Artifact(kind, [file], dates, subject=root)


def _sorted(paths: Iterable[Path], *, also_found: bool) -> tuple[list[Path], list[Path]]:
    """Return the outputs, and the files beside them."""
    given = list(dict.fromkeys(paths))
    near = {path: _paths_beside(path) for path in given}
    beside = set(chain.from_iterable(near.values()))
    outputs = [path for path in given if path not in beside]
    there = {
        path
        for output in outputs
        for path in near[output]
        if path in given or (also_found and path.is_file())
    }
    names: dict[str, Path] = {}
    for path in (*outputs, *sorted(there)):
        _check(path)
        other = names.setdefault(path.name, path)
        if other != path:
            raise InputError(
                f"{other} and {path} have the same name",
                hint="publish them under different tags, or with --platform",
            )
    return outputs, sorted(there)


def _paths_beside(output: Path) -> list[Path]:
    return [output.with_name(name) for name in names_beside(output.name)]


def _check(path: Path) -> None:
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "does not exist"
        raise InputError(f"{path} {what}", hint="name the files that a build has written")
    if not is_title(path.name):
        raise InputError(
            f"{path.name!r} is not a name that every machine can store",
            hint="rename it: letters, digits and ._+- are allowed, and no dot or hyphen first",
        )


def _read(
    outputs: Sequence[Path], beside: Sequence[Path], jobs: int, reporter: Reporter
) -> tuple[tuple[ArtifactFile, ...], tuple[ArtifactFile, ...]]:
    """Hash all files, several in parallel."""
    typed = [(path, media_type(path.name)) for path in outputs]
    typed += [(path, kind_beside(path).media_type) for path in beside]
    total = sum(path.stat().st_size for path, _ in typed)
    with reporter.transfer("hashing", total) as advance:
        work = Work(advance)
        files = work.run(lambda each: hashed_file(*each, work), typed, jobs=jobs, what="files")
    return tuple(files[: len(outputs)]), tuple(files[len(outputs) :])


def _index(
    root: RawManifest, platform: Platform | None, target: Reference, client: RegistryClient
) -> tuple[RawManifest, ...]:
    """Return the registry's index with `root` for `platform`; nothing without a platform."""
    if platform is None:
        return ()
    tagged = tagged_index(client, replace(target, digest=None)) if target.tag else None
    entry = replace(root.descriptor(platform), artifact_type=ARTIFACT_TYPE)
    return (extended_index(tagged, [entry], platform=platform),)
