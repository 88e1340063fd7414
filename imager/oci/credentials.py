"""Credentials as `docker login` and `podman login` keep them.

The file formats are those of https://docs.docker.com/reference/cli/docker/login/ and of
containers-auth.json(5); helper programs follow
https://github.com/docker/docker-credential-helpers.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imager.errors import DependencyError, InputError, UnsupportedError
from imager.oci.documents import MAX_DOCUMENT, Fields, load_fields
from imager.oci.reference import DOCKER_HUB
from imager.tools import run_tool

_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io", DOCKER_HUB)
_NOT_FOUND = "credentials not found"
_TOKEN_USER = "<token>"  # noqa: S105 - what helpers put in place of a user name


@dataclass(frozen=True, slots=True)
class Credential:
    """A user name and a password, or a personal token in its place."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CredentialStore:
    """The credentials of one file, whose fields are `config`."""

    config: Fields

    @classmethod
    def empty(cls) -> CredentialStore:
        """Return a store without credentials: every access is anonymous."""
        return cls(Fields({}, "credentials"))

    @classmethod
    def open(cls, path: Path) -> CredentialStore:
        """Return the store in the file `path`; raises InputError when it is not valid."""
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_DOCUMENT + 1)
        except OSError as error:
            raise InputError(f"cannot read credentials {path}: {error.strerror}") from error
        return cls(load_fields(raw, where=f"credentials {path}"))

    @classmethod
    def default(cls, environment: Mapping[str, str] = os.environ) -> CredentialStore:
        """Return the store that container tools would use here.

        The first file there is of: $REGISTRY_AUTH_FILE, $DOCKER_CONFIG/config.json (else
        ~/.docker/config.json), $XDG_RUNTIME_DIR/containers/auth.json. Raises InputError as
        `open`.
        """
        for path in _candidates(environment):
            if path.is_file():
                return cls.open(path)
        return cls.empty()

    def find(self, registry: str) -> Credential | None:
        """Return the credential for `registry` (host[:port]), None when there is none.

        Raises InputError for an entry that does not parse, UnsupportedError for an identity
        token, DependencyError when a credential helper is missing or fails.
        """
        keys = _HUB_KEYS if registry == DOCKER_HUB else (registry, f"https://{registry}")
        helpers = self.config.child("credHelpers")
        default_helper = self.config.text("credsStore")
        for key in keys:
            helper = (helpers.text(key) if helpers else "") or default_helper
            found = _ask_helper(helper, key) if helper else None
            found = found or self._inline(key)
            if found is not None:
                return found
        return None

    def _inline(self, key: str) -> Credential | None:
        auths = self.config.child("auths")
        entry = auths.child(key) if auths else None
        if entry is None:
            return None
        if entry.text("identitytoken"):
            raise _identity_token(entry.where)
        if entry.text("auth"):
            return _decoded(entry)
        if entry.text("username"):
            return Credential(entry.text("username"), entry.text("password"))
        return None


def _candidates(environment: Mapping[str, str]) -> list[Path]:
    docker = environment.get("DOCKER_CONFIG") or str(
        Path(environment.get("HOME") or "/nonexistent", ".docker")
    )
    files = [environment.get("REGISTRY_AUTH_FILE"), str(Path(docker, "config.json"))]
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        files.append(str(Path(runtime, "containers/auth.json")))
    return [Path(file) for file in files if file]


def _decoded(entry: Fields) -> Credential:
    try:
        text = base64.b64decode(entry.text("auth"), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InputError(f"{entry.where}: auth is not valid base64") from error
    username, colon, password = text.rstrip("\0").partition(":")
    if not colon:
        raise InputError(f"{entry.where}: auth must be base64 of user:password")
    return Credential(username, password)


def _ask_helper(helper: str, key: str) -> Credential | None:
    if "/" in helper:
        raise InputError(f"{helper!r} is not the name of a credential helper")
    try:
        raw = run_tool(
            [f"docker-credential-{helper}", "get"],
            package="golang-docker-credential-helpers",
            # A helper finds its store, a keyring or a cloud account, by the user's environment.
            env=os.environ,
            stdin=key.encode(),
        )
    except DependencyError as error:
        if _NOT_FOUND in error.message:
            return None
        raise DependencyError(
            f"cannot get credentials for {key}: {error.message}",
            hint=error.hint or f"run docker login {key} again, or take {helper} out of config.json",
        ) from error
    answer = load_fields(raw, where=f"the answer of docker-credential-{helper}")
    username, secret = answer.text("Username"), answer.text("Secret")
    if username == _TOKEN_USER:
        raise _identity_token(answer.where)
    return Credential(username, secret) if secret else None


def _identity_token(where: str) -> UnsupportedError:
    return UnsupportedError(
        f"{where}: identity tokens are not supported",
        hint="log in with a user name and a password or access token",
    )
