"""Decide how firmware gets the keys of SecureBoot."""

from __future__ import annotations

from imager.profile.model import Profile
from imager.support.errors import InputError
from imager.support.fields import setting
from imager.talos.choices import EnrollKeys


def enroll_keys(profile: Profile) -> EnrollKeys:
    """Return how to enroll keys; raises InputError if it is set but there are no keys."""
    asked = profile.output.enroll_keys
    if not profile.secureboot:
        if asked not in (None, EnrollKeys.OFF, EnrollKeys.IF_SAFE):
            field = setting(f"{profile.output.options_path}.sdBootEnrollKeys", asked.value)
            raise InputError(
                f"{field}: without SecureBoot there are no keys to enroll",
                hint="build secureboot-iso or secureboot-metal, or leave it out",
            )
        return EnrollKeys.OFF
    return asked or EnrollKeys.IF_SAFE
