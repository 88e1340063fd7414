"""Platforms of images: OCI image specification, image-index.md, property `platform`.

Names are normalised as in containerd (https://github.com/containerd/platforms): `x86_64` is amd64
and `aarch64` is arm64; the default variants `v8` of arm64 and `v7` of arm are implied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from imager.oci.errors import InvalidReferenceError

_PART = re.compile(r"[a-z0-9_][a-z0-9._-]{0,63}", re.ASCII)
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm"}
_IMPLIED_VARIANTS = {("arm64", "v8"), ("arm64", "8"), ("arm", "v7"), ("arm", "7"), ("amd64", "v1")}


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """An operating system, an architecture and, if there are several, its variant."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Parse a platform written as `os/architecture[/variant]`, and normalise its names.

        Raises InputError when it does not parse.
        """
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(_PART.fullmatch(part) for part in parts):
            raise InvalidReferenceError(
                f"{text[:80]!r} is not a platform", hint="write it as linux/amd64"
            )
        return cls(*parts).normalised()

    def normalised(self) -> Platform:
        """Return the platform with containerd's names, without the default variant."""
        architecture = _ARCHITECTURES.get(self.architecture.lower(), self.architecture.lower())
        variant = self.variant.lower()
        if (architecture, variant) in _IMPLIED_VARIANTS:
            variant = ""
        return Platform(self.os.lower(), architecture, variant)

    def matches(self, other: Platform) -> bool:
        """Return whether both are the same platform, under any of its names."""
        return self.normalised() == other.normalised()

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)
