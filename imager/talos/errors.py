"""The kinds of errors in Talos versions and META."""

from __future__ import annotations

from imager.support.errors import InputError


class InvalidVersionError(InputError):
    """A Talos version is not written as one, or is not known."""

    remedy = "Write it like v1.9.0, with --talos-version or `version:` in the profile."


class InvalidMetaError(InputError):
    """A META key or value cannot be stored, or META cannot be read."""

    remedy = "Use keys from 0x1 to 0xff, and values that fit in 256 KiB together."
