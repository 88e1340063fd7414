"""Lock a build, and build from a lock: options -> profile -> pinned references -> plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from imager import __version__
from imager.app.build_options import BuildOptions
from imager.app.lock.changes import raise_changes
from imager.app.lock.inputs import pins_of
from imager.app.lock.model import Lock
from imager.app.lock.resolve import resolved_inputs
from imager.app.lock.versions import package_versions, program_versions
from imager.app.opened_profile import OpenedProfile
from imager.oci.settings import RegistrySettings
from imager.profile.model import Profile
from imager.support.errors import InputError
from imager.support.reporter import QUIET, Reporter
from imager.support.repro import source_date_epoch

# They are inputs, which are pinned by digest. A machine configuration may have secrets, and the
# fields of keys name private keys.
_INPUTS: Mapping[str, Any] = {
    "input": True,
    "overlay": {"image"},
    "customization": {"embedded_machine_configuration"},
}


def make_lock(opened: OpenedProfile, options: BuildOptions, reporter: Reporter = QUIET) -> Lock:
    """Return the lock of what a build of `opened` uses now; raises as `resolved_inputs`."""
    found = resolved_inputs(opened, options, reporter)
    profile = opened.profile
    return Lock(
        imager=__version__,
        sourceDateEpoch=options.timestamp,
        profile=_finished(profile, found.version.text),
        inputs=found.inputs,
        programs=dict(program_versions(profile, uses_grub=found.uses_grub)),
        packages=package_versions(),
    )


def _finished(profile: Profile, version: str) -> Mapping[str, Any]:
    told = profile.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=dict(_INPUTS))
    return told | {"version": version}


def locked_options(options: BuildOptions, lock: Lock) -> BuildOptions:
    """Return the options of a build from `lock`: its references and its time are pinned.

    SOURCE_DATE_EPOCH, if it is set, remains: `check_lock` says that it differs.
    """
    registries = replace(options.registries or RegistrySettings(), pins=lock.pins)
    return replace(options, registries=registries, timestamp=locked_time(lock))


def described_options(
    options: BuildOptions, opened: OpenedProfile, reporter: Reporter = QUIET
) -> BuildOptions:
    """Return the options of a build whose inputs are listed: they are resolved, and pinned.

    Raises as `resolved_inputs`.
    """
    inputs = resolved_inputs(opened, options, reporter).inputs
    registries = replace(options.registries or RegistrySettings(), pins=pins_of(inputs))
    return replace(options, registries=registries, release=replace(options.release, inputs=inputs))


def locked_time(lock: Lock) -> int:
    """Return SOURCE_DATE_EPOCH if it is set, else the time in `lock`."""
    pinned = lock.sourceDateEpoch
    return source_date_epoch() if pinned is None else source_date_epoch(pinned)


def check_lock(
    lock: Lock,
    opened: OpenedProfile,
    options: BuildOptions,
    reporter: Reporter = QUIET,
    *,
    source: str,
) -> None:
    """Check that a build with `options`, which are those of `locked_options`, uses what is pinned.

    `source` names the lock. Raises ChangedSinceLockError with all differences, InputError if the
    options do not check what is copied, and as `make_lock`.
    """
    if lock.profile is None:
        raise InputError(
            f"{source} locks a list of images, not a build",
            hint="use it for `imager images cache-create`; `imager lock PROFILE` locks a build",
        )
    if not options.verify:
        raise InputError(
            "--no-verify does not check the digests that --locked pins",
            hint="leave --no-verify out",
        )
    raise_changes(lock, make_lock(opened, options, reporter), source, "imager lock PROFILE")
