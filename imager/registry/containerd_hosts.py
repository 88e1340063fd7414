"""hosts.toml files that make containerd try a server before the registries themselves.

https://github.com/containerd/containerd/blob/main/docs/hosts.md
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from imager.oci.endpoint import hosts_folder, is_loopback, mirror_root, registry_host
from imager.registry.mirrors import checked_names
from imager.support.atomic import write_atomic
from imager.support.errors import InputError
from imager.support.folders import ensure_folder

HOSTS_MARK = "# Written by imager: it replaces this file."
_FILE = "hosts.toml"
# The folder for all other registries; no registry has this name.
_ANY = "_default"
_HINT = "move it away, or give another folder"


def write_hosts(
    folder: Path, registries: Iterable[str], *, url: str, ca_file: Path | None
) -> tuple[Path, ...]:
    """Write hosts.toml files to `folder` for each of `registries` (host[:port]) and for all others.

    Each makes containerd try the server at `url` first, then the registry itself, and trust the
    certificates in `ca_file` if the server uses TLS. Files of an earlier run are replaced
    atomically; nothing else is changed. Returns the paths of the files. Raises InputError, without
    writing anything, for an invalid registry or URL and for a file that imager did not write;
    HostError when a file cannot be written.
    """
    mirror_root(url)
    texts = {
        folder / name / _FILE: text.encode()
        for name, text in _texts(registries, url.rstrip("/"), _ca(url, ca_file))
    }
    for path in texts:
        _check_ours(path)
    for path, data in texts.items():
        ensure_folder(path.parent)
        write_atomic(path, data)
    return tuple(texts)


def writes_to(folder: Path) -> bool:
    """Return whether `folder` has the files that `write_hosts` writes."""
    try:
        _check_ours(folder / _ANY / _FILE)
    except InputError:
        return False
    return (folder / _ANY / _FILE).exists()


def _texts(registries: Iterable[str], url: str, ca: str) -> Iterator[tuple[str, str]]:
    mirror = f'[host.{_string(url)}]\n  capabilities = ["pull", "resolve"]\n{ca}'
    yield _ANY, f"{HOSTS_MARK}\n{mirror}"
    for registry in checked_names(registries):
        server = f"server = {_string(f'https://{registry_host(registry)}')}\n"
        # containerd itself allows plain HTTP for a registry on this machine.
        own = "" if is_loopback(registry) else server
        yield hosts_folder(registry), f"{HOSTS_MARK}\n{own}\n{mirror}"


def _ca(url: str, ca_file: Path | None) -> str:
    if ca_file is None or not url.startswith("https:"):
        return ""
    return f"  ca = {_string(str(ca_file.absolute()))}\n"


def _string(text: str) -> str:
    """Return `text` as a basic string of TOML (v1.0.0), which is JSON's if all is printable."""
    if not text.isprintable():
        raise InputError(
            f"{text!r} cannot be written to {_FILE}", hint="use only printable characters"
        )
    return json.dumps(text, ensure_ascii=False)


def _check_ours(path: Path) -> None:
    """Raise InputError unless `path` is missing or has imager's mark."""
    mark = f"{HOSTS_MARK}\n".encode()
    try:
        with path.open("rb") as file:
            ours = file.read(len(mark)) == mark
    except FileNotFoundError:
        ours = not path.is_symlink()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint=_HINT) from error
    if not ours:
        raise InputError(f"{path} was not written by imager", hint=_HINT)
