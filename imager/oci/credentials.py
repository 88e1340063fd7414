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
from typing import Protocol

from imager.errors import DependencyError, InputError, UnsupportedError
from imager.oci.documents import MAX_DOCUMENT, Fields, load_fields
from imager.oci.reference import DOCKER_HUB

_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io", DOCKER_HUB)
_NOT_FOUND = "credentials not found"
_TOKEN_USER = "<token>"  # noqa: S105 - what helpers put in place of a user name


@dataclass(frozen=True, slots=True)
class Credential:
    """A user name and a password, or a personal token in its place."""

    username: str
    password: str = field(repr=False)

    @property
    def basic(self) -> str:
        """The Authorization header of the Basic scheme, in UTF-8: RFC 7617, section 2."""
        return f"Basic {base64.b64encode(f'{self.username}:{self.password}'.encode()).decode()}"


class Credentials(Protocol):
    """Where the login for a repository is looked up."""

    def find(self, registry: str, repository: str = "") -> Credential | None:
        """Return the credential for `registry` (host[:port]) and a repository of it, if any.

        Raises InputError for an entry that does not parse, UnsupportedError for an identity
        token, DependencyError when a credential helper is missing or fails.
        """


@dataclass(frozen=True, slots=True)
class CredentialStore:
    """The credentials of one file, whose fields are `config`."""

    config: Fields

    @classmethod
    def empty(cls) -> CredentialStore:
        """Return a store without credentials: every access is anonymous."""
        return cls(Fields({}, "credentials"))

    @classmethod
    def of(cls, registry: str, credential: Credential) -> CredentialStore:
        """Return a store with one credential, for all of `registry`."""
        entry = {"username": credential.username, "password": credential.password}
        return cls(Fields({"auths": {registry: entry}}, f"credentials for {registry}"))

    @classmethod
    def open(cls, path: Path) -> CredentialStore:
        """Return the store in the file `path`; raises InputError when it is not valid."""
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_DOCUMENT + 1)
        except OSError as error:
            raise InputError(f"cannot read credentials {path}: {error.strerror}") from error
        return cls(load_fields(raw, where=f"credentials {path}"))

    def find(self, registry: str, repository: str = "") -> Credential | None:
        """Return a credential, that for the longest path above the repository; see Credentials."""
        parts = repository.split("/") if repository else []
        for length in range(len(parts), 0, -1):
            found = self._inline("/".join([registry, *parts[:length]]))
            if found is not None:
                return found
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


@dataclass(frozen=True, slots=True)
class CredentialChain:
    """Several stores, looked through in order."""

    stores: tuple[CredentialStore, ...] = ()

    @classmethod
    def stored(cls, environment: Mapping[str, str] = os.environ) -> CredentialChain:
        """Return what `docker login` and `podman login` have stored here.

        $REGISTRY_AUTH_FILE alone, if there is such a file; else $DOCKER_CONFIG/config.json (or
        ~/.docker/config.json), $XDG_RUNTIME_DIR/containers/auth.json and
        $XDG_CONFIG_HOME/containers/auth.json (or that in ~/.config). Raises InputError as
        `CredentialStore.open`.
        """
        chosen = environment.get("REGISTRY_AUTH_FILE")
        if chosen and Path(chosen).is_file():
            return cls((CredentialStore.open(Path(chosen)),))
        files = (path for path in _candidates(environment) if path.is_file())
        return cls(tuple(CredentialStore.open(path) for path in files))

    def followed_by(self, other: CredentialChain) -> CredentialChain:
        """Return these stores and, behind them, those of `other`."""
        return CredentialChain(self.stores + other.stores)

    def find(self, registry: str, repository: str = "") -> Credential | None:
        """Return the first credential that a store has; see Credentials."""
        found = (store.find(registry, repository) for store in self.stores)
        return next((credential for credential in found if credential is not None), None)


def _candidates(environment: Mapping[str, str]) -> list[Path]:
    home = Path(environment.get("HOME") or "/nonexistent")
    files = [Path(environment.get("DOCKER_CONFIG") or home / ".docker", "config.json")]
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        files.append(Path(runtime, "containers/auth.json"))
    files.append(
        Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "containers/auth.json")
    )
    return files


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
    from imager.tools import run_tool

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
