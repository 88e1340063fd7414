"""Push an image cache to a registry."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from imager.cache import publish
from imager.oci.push import DEFAULT_CHUNK, Pushed, PushOptions, mount_repository, push
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.settings import RegistrySettings
from imager.support.reporter import QUIET, Reporter


@dataclass(frozen=True, slots=True)
class PushCache:
    """The cache at `path` to push as `reference`: registry/repository:tag.

    `chunk_size` is in bytes, 0 sends each blob in one request. `mount_from` is a repository of the
    registry that may have some of the blobs.
    """

    path: Path
    reference: str
    jobs: int = 4
    chunk_size: int = DEFAULT_CHUNK
    mount_from: str | None = None
    registries: RegistrySettings = field(default_factory=RegistrySettings)


def push_cache(cache: PushCache, reporter: Reporter = QUIET) -> Pushed:
    """Push a cache; the result has the reference with its digest, and what became of each blob.

    Raises InputError for a wrong reference or a damaged cache, DependencyError when the registry
    fails, HostError when there is no space to decompress a tar.
    """
    target = Reference.parse_strict(cache.reference)
    mount = None if cache.mount_from is None else mount_repository(cache.mount_from, target)
    client = RegistryClient.from_settings(cache.registries)
    plan = publish.plan_cache(cache.path, reporter=reporter)
    options = PushOptions(chunk_size=cache.chunk_size, jobs=cache.jobs, mount_from=mount)
    return push(plan, target, client=client, options=options, reporter=reporter)
