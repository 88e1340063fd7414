"""Checks whether containerd is configured to look for hosts.toml files in a folder.

https://github.com/containerd/containerd/blob/main/docs/cri/registry.md: `config_path` lists folders
separated by colons. Since version 3 of the configuration it has a default.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

_KEY = "config_path"
_DEFAULT = "/etc/containerd/certs.d"
_DEFAULT_SINCE = 3


def reads_hosts(config: Path, hosts: Path) -> bool:
    """Return whether containerd with the configuration `config` reads the folder `hosts`.

    Assumes that it does when the configuration is missing or unreadable.
    """
    try:
        values = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    paths = list(_config_paths(values))
    version = values.get("version")
    if not any(paths) and isinstance(version, int) and version >= _DEFAULT_SINCE:
        paths = [_DEFAULT]
    return any(str(hosts) in path.split(":") for path in paths)


def _config_paths(values: object) -> Iterator[str]:
    """Yield every `config_path` in nested tables."""
    if not isinstance(values, dict):
        return
    for key, value in values.items():
        if key == _KEY and isinstance(value, str):
            yield value
        yield from _config_paths(value)
