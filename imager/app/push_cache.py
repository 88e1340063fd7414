"""Push an image cache to a registry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from imager.cache import publish
from imager.oci.push import Pushed, PushOptions, mount_repository, push
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.settings import RegistrySettings
from imager.support.reporter import QUIET, Reporter

_OPTIONS, _SETTINGS = PushOptions(), RegistrySettings()


def push_cache(
    path: Path,
    reference: str,
    options: PushOptions = _OPTIONS,
    registries: RegistrySettings = _SETTINGS,
    reporter: Reporter = QUIET,
) -> Pushed:
    """Push the cache at `path` as `reference`: registry/repository:tag.

    The result has the reference with its digest and the outcome for each blob. Raises InputError
    for an invalid reference or a damaged cache, DependencyError if the registry fails, HostError if
    the disk is too full to decompress a tar.
    """
    target = Reference.parse_strict(reference)
    if options.mount_from is not None:
        options = replace(options, mount_from=mount_repository(options.mount_from, target))
    client = RegistryClient.from_settings(registries)
    plan = publish.plan_cache(path, reporter=reporter)
    return push(plan, target, client=client, options=options, reporter=reporter)
