"""The kinds of errors of images and registries."""

from __future__ import annotations

from imager.support.errors import DependencyError, InputError


class InvalidReferenceError(InputError):
    """An image reference, digest or platform is malformed."""

    remedy = "Write images as REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@sha256:HEX."


class InvalidImageError(InputError):
    """An image, or the folder or archive that holds it, breaks the rules of its format."""

    remedy = "Copy or save the image again, for example with `skopeo copy`."


class InvalidArtifactError(InputError):
    """An artifact in a registry has no files, or names of files that must not be written."""

    remedy = (
        "Check the reference: it must name what `imager publish` or `oras push` has pushed. "
        "Publish it again from the files if it is yours."
    )


class NotFoundError(InputError):
    """A registry, layout or archive does not have the image or blob."""

    remedy = "Check the name and tag, and that the mirror or archive has the image."


class AccessDeniedError(InputError):
    """A registry refuses access: the login is missing, wrong, or does not cover the image."""

    remedy = (
        "Log in with `docker login` or `skopeo login`, or give --registry-auth. Many registries "
        "also answer this way for images that do not exist."
    )


class InvalidRegistrySettingsError(InputError):
    """A mirror, certificate, login or hosts.toml file for registries is not valid."""

    remedy = "Correct the option or file that the message names."


class RegistryFailedError(DependencyError):
    """A registry failed, or sent an invalid response."""

    remedy = (
        "Try again later, or name another mirror with --registry-mirror. -v prints all requests."
    )


class RegistryUnreachableError(DependencyError):
    """No connection to a registry or mirror could be made."""

    remedy = (
        "Check the name, the network and the proxy settings (HTTPS_PROXY, NO_PROXY), or name a "
        "mirror with --registry-mirror."
    )


class UntrustedCertificateError(DependencyError):
    """The TLS certificate of a registry is not trusted, or it requires one from the client."""

    remedy = (
        "Give the registry's CA with --registry-ca, or a client certificate with "
        "--registry-client-cert. In a test, --insecure accepts any certificate."
    )


class UnsafeAddressError(DependencyError):
    """A registry refers to an address that is not allowed: unencrypted, or internal."""

    remedy = (
        "Check the responses of the registry or the proxy in front of it. --insecure allows it "
        "for registries that you trust."
    )


class WrongBytesError(DependencyError):
    """The bytes that a registry sent do not match their digest."""

    remedy = "Run the command again. If it fails again, the registry or mirror has a damaged blob."
