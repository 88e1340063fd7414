"""The options of commands that fetch images into a cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from imager.cli.declare import flag, option
from imager.cli.options import LIST, POLICY_HELP, PushRegistries, TrustedRootFile, policy_files

if TYPE_CHECKING:
    from imager.app.create_cache import Images


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """The options for images to add to a cache."""

    images: Annotated[
        list[str],
        option(
            "LIST",
            f"Images: {LIST}. An image is a registry reference, or a local image: "
            "[NAME=]oci:FOLDER[:TAG], [NAME=]oci-archive:FILE[:TAG], "
            "[NAME=]docker-archive:FILE[:REF] or NAME=dir:FOLDER.",
        ),
    ]
    platform: Annotated[
        list[str] | None,
        option(
            "OS/ARCH", "Platforms to cache, separated by commas, or all.", default="linux/amd64"
        ),
    ] = None
    missing_platform: Annotated[
        Literal["fail", "warn"],
        option(
            None,
            "What to do if an image lacks some of the platforms: fail, or warn and cache "
            "the others.",
        ),
    ] = "fail"
    cosign_signatures: Annotated[
        bool,
        flag(
            "--cosign-signatures/--no-cosign-signatures",
            "Also cache the signatures of images in registries.",
        ),
    ] = True
    verify_policy: Annotated[
        str | None, option("FILE", f"Refuse images that this policy does not allow: {POLICY_HELP}")
    ] = None
    trusted_root: TrustedRootFile = None

    def to_cache(self, registries: PushRegistries, jobs: int) -> Images:
        """Return the images with the settings for fetching them."""
        from imager.app.create_cache import Images
        from imager.cache.selection import MissingPlatform

        missing, settings = MissingPlatform(self.missing_platform), registries.settings()
        platforms, signatures = self.platform or (), self.cosign_signatures
        policy = policy_files(self.verify_policy, self.trusted_root, option="--verify-policy")
        return Images(self.images, platforms, missing, signatures, jobs, settings, policy)
