"""Pulling from a real registry through a proxy that breaks every connection."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.lib.caches.caches import tree_files
from tests.lib.proxies.programmable import running_proxy
from tests.lib.registries.registry import copy_image, make_layout, running_registry
from tests.lib.tools import cli

pytestmark = pytest.mark.oracle
LAYER = 3_000_000


@pytest.mark.parametrize("layout", ["oci", "flat"])
def test_a_cache_comes_whole_over_connections_that_break(tmp_path: Path, layout: str) -> None:
    text = "".join(f"{number * 7919 % 1_000_003}\n" for number in range(LAYER // 7))
    source = make_layout(tmp_path / "source", text=text)
    with running_registry(tmp_path / "registry") as registry:
        copy_image(
            f"oci:{source}:v1", f"docker://{registry.host}/team/app:v1", "--dest-tls-verify=0"
        )

        def create(host: str, name: str) -> dict[str, bytes]:
            """Make the cache of an image whose name does not depend on who is asked."""
            path = tmp_path / name / "cache"
            path.parent.mkdir()
            argv = ("--image-cache-path", path, "--images", "-", "--layout", layout)
            mirror = ("--registry-mirror", f"registry.test=http://{host}")
            line = "registry.test/team/app:v1"
            done = cli.run("images", "cache-create", *argv, *mirror, stdin=line)
            assert done.returncode == 0, done.stderr
            return tree_files(path)

        whole = create(registry.host, "direct")
        chance = random.Random(5)
        with running_proxy(registry.host, limit=lambda: chance.randint(2_000, 300_000)) as proxy:
            assert create(proxy.host, "flaky") == whole
        assert len([each for each in proxy.log.about("/blobs/") if each.start]) > 3
