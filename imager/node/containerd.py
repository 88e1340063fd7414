"""Whether containerd is configured to look for hosts.toml files in a folder.

https://github.com/containerd/containerd/blob/main/docs/cri/registry.md: `config_path` has folders,
with colons between them. From version 3 of its configuration on there is a default.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

_KEY = "config_path"
_DEFAULT = "/etc/containerd/certs.d"
_DEFAULT_SINCE = 3


def reads_hosts(config: Path, hosts: Path) -> bool:
    """Return whether containerd with the configuration `config` looks into the folder `hosts`.

    Without a configuration, or with one that cannot be read, it is taken to.
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
    """Yield every `config_path` in the nested tables."""
    if not isinstance(values, dict):
        return
    for key, value in values.items():
        if key == _KEY and isinstance(value, str):
            yield value
        yield from _config_paths(value)
