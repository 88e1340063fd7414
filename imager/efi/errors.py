"""The kinds of errors of EFI binaries, keys and certificates."""

from __future__ import annotations

from imager.support.errors import DependencyError, InputError


class InvalidKeyError(InputError):
    """A private key or certificate is missing, damaged, or not of the kind that is needed."""

    remedy = (
        "Make keys with `imager secureboot gen-keys`, or correct the file that the message names."
    )


class InvalidEfiBinaryError(InputError):
    """A kernel, loader or stub is not a sound EFI binary for the architecture."""

    remedy = "Fetch the boot assets again, or give others with --assets."


class SignerFailedError(DependencyError):
    """A token or service that signs does not answer, refuses, or returns a wrong signature."""

    remedy = "Check the address or URI of the key, the PIN or login, and that the service runs."
