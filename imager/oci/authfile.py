"""Files of registry logins: Docker's config.json and other files with the same entries.

    config.json, auth.json   {"auths": {HOST: {...}}, "credHelpers": ..., "credsStore": ...}
    .dockercfg               {HOST: {...}}, as Docker wrote it before 1.7
    a Kubernetes Secret      of type kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg, in
                             YAML or JSON, alone or in a list or among other documents

https://kubernetes.io/docs/concepts/configuration/secret/#docker-config-secrets
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path

from imager.oci.documents import MAX_DOCUMENT, Fields, fields_of, load_fields
from imager.oci.errors import InvalidRegistrySettingsError
from imager.support.errors import InputError
from imager.support.units import format_size

_BOM = b"\xef\xbb\xbf"
_CONFIG_KEY, _LEGACY_KEY = ".dockerconfigjson", ".dockercfg"
_ENTRY_KEYS = frozenset({"auth", "username", "password", "email", "identitytoken", "registrytoken"})
_MOST_SECRETS = 1000
_HINT = "write HOST=USER:PASSWORD, or give a file such as Docker's config.json"


def read_auth_file(path: Path) -> Fields:
    """Read the logins in the file `path`, in the form of config.json; an empty file has no logins.

    Raises InputError when the file cannot be read or has another format.
    """
    where = f"credentials {path}"
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_DOCUMENT + 1)
    except OSError as error:
        raise InvalidRegistrySettingsError(
            f"cannot read {where}: {error.strerror}", hint=_HINT
        ) from error
    if len(raw) > MAX_DOCUMENT:
        raise InvalidRegistrySettingsError(f"{where} is larger than {format_size(MAX_DOCUMENT)}")
    text = raw.removeprefix(_BOM).strip()
    if not text:
        return Fields({}, where)
    if text.startswith(b"{") and b"\n---" not in text:
        fields = load_fields(text, where=where)
        if fields.values.get("kind") not in ("Secret", "List"):
            return _with_auths(fields)
    return _from_secrets(text, where)


def decoded_base64(text: str) -> bytes:
    """Decode base64 text, with or without line breaks and padding.

    Raises ValueError when it is invalid.
    """
    data = "".join(text.split()).rstrip("=")
    return base64.b64decode(data + "=" * (-len(data) % 4), validate=True)


def _with_auths(fields: Fields) -> Fields:
    """Return the fields in the form of config.json, converting those of .dockercfg."""
    values = fields.values
    entries = [each for each in values.values() if isinstance(each, dict)]
    legacy = [each for each in entries if _ENTRY_KEYS & each.keys()]
    if "auths" in values or not values or len(legacy) < len(values):
        return fields
    return Fields({"auths": values}, fields.where)


def _from_secrets(text: bytes, where: str) -> Fields:
    from imager.support.yamldocs import load_documents

    try:
        documents = load_documents(text.decode("utf-8"))
    except (InputError, UnicodeDecodeError) as error:
        raise InvalidRegistrySettingsError(
            f"{where} is neither JSON nor a Kubernetes Secret",
            hint="give Docker's config.json, .dockercfg, or a Secret of type "
            "kubernetes.io/dockerconfigjson",
        ) from error
    auths: dict[str, object] = {}
    found = 0
    for secret in _secrets(documents):
        found += 1
        for key, value in _logins(secret, where).items():
            auths.setdefault(key, value)
    if not found:
        raise InvalidRegistrySettingsError(
            f"{where} contains no Secret with {_CONFIG_KEY} or {_LEGACY_KEY}",
            hint="kubectl get secret NAME -o yaml prints one",
        )
    return Fields({"auths": auths}, where)


def _secrets(documents: object) -> Iterator[Mapping[str, object]]:
    """Yield the Secrets that contain logins, also from lists of Secrets."""
    pending = [documents]
    for _ in range(_MOST_SECRETS):
        if not pending:
            return
        each = pending.pop(0)
        if isinstance(each, (list, tuple)):
            pending = [*each, *pending]
        elif isinstance(each, dict) and isinstance(each.get("items"), list):
            pending = [*each["items"], *pending]
        elif isinstance(each, dict) and each.get("kind") == "Secret" and _payload(each) is not None:
            yield each


def _payload(secret: Mapping[str, object]) -> tuple[str, str, bool] | None:
    """Return the key of a Secret that holds logins, its text, and whether that is base64."""
    for field, encoded in (("stringData", False), ("data", True)):
        data = secret.get(field)
        for key in (_CONFIG_KEY, _LEGACY_KEY):
            value = data.get(key) if isinstance(data, dict) else None
            if isinstance(value, str):
                return key, value, encoded
    return None


def _logins(secret: Mapping[str, object], where: str) -> Mapping[str, object]:
    key, text, encoded = _payload(secret) or ("", "", False)
    metadata = secret.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    place = f"{where}: Secret {name or ''}: {key}"
    try:
        raw = decoded_base64(text) if encoded else text.encode()
    except ValueError as error:
        raise InvalidRegistrySettingsError(f"{place} is not valid base64") from error
    fields = load_fields(raw, where=place)
    auths = fields.child("auths") if key == _CONFIG_KEY else fields
    return fields_of(dict(auths.values), place).values if auths else {}
