"""Whether containerd looks into a folder of hosts.toml files, by what its documentation says."""

from __future__ import annotations

from pathlib import Path

import pytest

from imager.node.containerd import reads_hosts

CERTS = Path("/etc/containerd/certs.d")
CRI_2 = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n'
CRI_3 = 'version = 3\n[plugins."io.containerd.cri.v1.images".registry]\n'


@pytest.mark.parametrize(
    ("text", "hosts", "reads"),
    [
        (f'{CRI_2}config_path = "{CERTS}"\n', CERTS, True),
        (f'{CRI_2}config_path = "/etc/docker/certs.d:{CERTS}"\n', CERTS, True),
        (f'{CRI_2}config_path = "{CERTS}/more"\n', CERTS, False),
        (f'{CRI_2}config_path = ""\n', CERTS, False),
        ("version = 2\n", CERTS, False),
        ("", CERTS, False),
        ("version = 3\n", CERTS, True),
        ("version = 3\n", Path("/srv/certs.d"), False),
        (f'{CRI_3}config_path = ""\n', CERTS, True),
        (f'{CRI_3}config_path = "/srv/certs.d"\n', CERTS, False),
        (f'{CRI_3}config_path = "/srv/certs.d"\n', Path("/srv/certs.d"), True),
        ("no TOML", CERTS, True),
    ],
)
def test_the_folder_is_read_where_the_configuration_says(
    tmp_path: Path, text: str, hosts: Path, *, reads: bool
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)
    assert reads_hosts(config, hosts) is reads


def test_without_a_configuration_nothing_is_said(tmp_path: Path) -> None:
    assert reads_hosts(tmp_path / "none.toml", CERTS)
