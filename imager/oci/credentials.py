"""Credentials as `docker login`, `podman login` and Kubernetes store them.

The file formats are those of https://docs.docker.com/reference/cli/docker/login/ and of
containers-auth.json(5); helper programs follow https://github.com/docker/docker-credential-helpers.
`authfile` reads other formats.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imager.oci.authfile import decoded_base64, read_auth_file
from imager.oci.authkeys import DOCKER_HUB_KEYS, best_key
from imager.oci.documents import Fields, load_fields
from imager.oci.errors import InvalidRegistrySettingsError
from imager.oci.reference import DOCKER_HUB
from imager.support.errors import DependencyError

_NOT_FOUND = "credentials not found"
_TOKEN_USER = "<token>"  # noqa: S105 - the user name that helpers return with a token


@dataclass(frozen=True, slots=True)
class Credential:
    """A user name and a password, or a personal access token as the password."""

    username: str
    password: str = field(repr=False)

    @property
    def basic(self) -> str:
        """The Authorization header of the Basic scheme, in UTF-8: RFC 7617, section 2."""
        return f"Basic {base64.b64encode(f'{self.username}:{self.password}'.encode()).decode()}"


@dataclass(frozen=True, slots=True)
class IdentityToken:
    """A refresh token for the registry's token server, as `az acr login` stores one."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RegistryToken:
    """A bearer token for the registry itself."""

    token: str = field(repr=False)


Login = Credential | IdentityToken | RegistryToken


@dataclass(frozen=True, slots=True)
class CredentialStore:
    """The credentials of one file, with the fields `config`."""

    config: Fields

    @classmethod
    def of(cls, registry: str, credential: Credential) -> CredentialStore:
        """Return a store with one credential for all of `registry`."""
        entry = {"username": credential.username, "password": credential.password}
        return cls(Fields({"auths": {registry: entry}}, f"credentials for {registry}"))

    @classmethod
    def open(cls, path: Path) -> CredentialStore:
        """Read the store in the file `path`; raises InputError when it is invalid."""
        return cls(read_auth_file(path))

    def find(self, registry: str, repository: str = "") -> Login | None:
        """Return the login for a repository of `registry` (host[:port]), if any.

        The most specific key wins; a credential helper of the registry takes precedence over a
        login for all of the registry. Raises InputError for an entry that does not parse,
        DependencyError when a credential helper is missing or fails.
        """
        auths = self.config.child("auths") or Fields({}, "auths")
        used = (key for key, entry in auths.values.items() if not _is_empty(entry))
        key, part = best_key(used, registry, repository)
        inline = _inline(auths.child(key)) if key else None
        if inline is not None and part:
            return inline
        return self._from_helper(registry) or inline

    def _from_helper(self, registry: str) -> Login | None:
        helpers = self.config.child("credHelpers") or Fields({}, "credHelpers")
        key, _ = best_key(helpers.values, registry, "")
        helper = (helpers.text(key) if key else "") or self.config.text("credsStore")
        if not helper:
            return None
        asked = DOCKER_HUB_KEYS if registry == DOCKER_HUB else (registry, f"https://{registry}")
        answers = (
            _ask_helper(helper, name) for name in dict.fromkeys([*([key] if key else []), *asked])
        )
        return next((login for login in answers if login is not None), None)


@dataclass(frozen=True, slots=True)
class CredentialChain:
    """Several stores, searched in order."""

    stores: tuple[CredentialStore, ...] = ()

    @classmethod
    def stored(cls, environment: Mapping[str, str] = os.environ) -> CredentialChain:
        """Return the logins stored by `docker login` and `podman login`.

        Uses only $REGISTRY_AUTH_FILE if that file exists; otherwise $DOCKER_CONFIG/config.json (or
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
        """Return a chain of these stores followed by those of `other`."""
        return CredentialChain(self.stores + other.stores)

    def find(self, registry: str, repository: str = "") -> Login | None:
        """Return the login of the first store that has one; raises as `CredentialStore.find`."""
        found = (store.find(registry, repository) for store in self.stores)
        return next((login for login in found if login is not None), None)


Credentials = CredentialStore | CredentialChain


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    home = Path(environment.get("HOME") or "/nonexistent")
    yield Path(environment.get("DOCKER_CONFIG") or home / ".docker", "config.json")
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, "containers/auth.json")
    yield Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "containers/auth.json")


def _is_empty(entry: object) -> bool:
    """Return whether an entry has no login; docker writes such entries when a helper keeps it."""
    return entry is None or (isinstance(entry, dict) and not any(entry.values()))


def _inline(entry: Fields | None) -> Login | None:
    """Return the login of an entry of `auths`, in docker's order: tokens before passwords."""
    if entry is None:
        return None
    if token := entry.text("registrytoken"):
        return RegistryToken(token)
    if token := entry.text("identitytoken"):
        return IdentityToken(token)
    if entry.text("auth"):
        return _decoded(entry)
    if entry.text("username"):
        return Credential(entry.text("username"), entry.text("password"))
    return None


def _decoded(entry: Fields) -> Credential:
    try:
        text = decoded_base64(entry.text("auth")).decode("utf-8")
    except ValueError as error:
        raise InvalidRegistrySettingsError(f"{entry.where}: auth is not valid base64") from error
    username, colon, password = text.rstrip("\0").partition(":")
    if not colon:
        raise InvalidRegistrySettingsError(f"{entry.where}: auth must be base64 of user:password")
    return Credential(username, password)


def _ask_helper(helper: str, key: str) -> Login | None:
    from imager.support.tools import run_tool

    if "/" in helper:
        raise InvalidRegistrySettingsError(f"{helper!r} is not the name of a credential helper")
    try:
        raw = run_tool(
            [f"docker-credential-{helper}", "get"],
            package="golang-docker-credential-helpers",
            # A helper locates its store, a keyring or a cloud account, through the environment.
            env=os.environ,
            stdin=key.encode(),
        )
    except DependencyError as error:
        if _NOT_FOUND in error.message:
            return None
        raise DependencyError(
            f"cannot get credentials for {key}: {error.message}",
            hint=error.hint or f"run docker login {key} again, or remove {helper} from config.json",
        ) from error
    answer = load_fields(raw, where=f"the response of docker-credential-{helper}")
    username, secret = answer.text("Username"), answer.text("Secret")
    if username == _TOKEN_USER:
        return IdentityToken(secret) if secret else None
    return Credential(username, secret) if secret else None
