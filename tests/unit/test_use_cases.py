"""Use cases called as a program calls them: options in, results out, nothing on the screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from imager import (
    BuildOptions,
    CacheLocation,
    CheckConfig,
    Images,
    InputError,
    NewCache,
    PullOptions,
    RegistrySettings,
    ServerCertificate,
    TalosVersion,
    Wanted,
    build,
    check_config,
    compare_caches,
    create_cache,
    default_images,
    describe_cache,
    image_cache_asset,
    make_server_certificate,
    open_profile,
    patch_config,
    planned_build,
    prune_cache,
    read_image_list,
    verify_cache,
)
from tests.lib.caches.caches import CacheFixture, flip, make_flat, make_layout, tree_files

PULL = PullOptions(RegistrySettings())
RELEASE = TalosVersion.parse("v1.9.0")


@pytest.fixture
def cache(tmp_path: Path) -> CacheFixture:
    return make_flat(tmp_path / "flat", images=3)


def test_caches_are_described_verified_and_compared(cache: CacheFixture, tmp_path: Path) -> None:
    flat = CacheLocation(cache.folder)
    info = describe_cache(flat, PULL)
    assert [str(each.reference) for each in info.images] == sorted(cache.references)
    layout = CacheLocation.parse(f"oci:{make_layout(cache, tmp_path / 'layout')}")
    assert compare_caches(flat, layout).same
    assert verify_cache(layout).problems == ()
    flip(cache.blobs[0], 5)
    assert len(verify_cache(flat).problems) == 1


def test_pruning_is_a_plan_in_a_dry_run(cache: CacheFixture) -> None:
    wanted = Wanted(keep=read_image_list([cache.references[0]]))
    before = tree_files(cache.folder)
    plan = prune_cache(cache.folder, wanted, dry_run=True)
    assert tree_files(cache.folder) == before
    done = prune_cache(cache.folder, wanted)
    assert [str(each.reference) for each in done.removed] == list(cache.references[1:])
    assert (
        done.freed
        == plan.freed
        == sum(map(len, before.values())) - sum(map(len, tree_files(cache.folder).values()))
    )


def test_a_configuration_that_is_made_for_a_cache_fits_it(
    cache: CacheFixture, tmp_path: Path
) -> None:
    location = CacheLocation(cache.folder)
    path = tmp_path / "patch.yaml"
    path.write_text(patch_config(location, RELEASE))
    checked = check_config(CheckConfig(str(path), location, RELEASE))
    assert checked.config.image_cache.enabled
    assert checked.sized is not None
    path.write_text(patch_config(location, RELEASE, volume=False))
    assert check_config(CheckConfig(str(path), location, RELEASE)).config.volume is None


def test_a_build_is_planned_and_written(cache: CacheFixture, assets: Path, tmp_path: Path) -> None:
    layer = {"input": {"imageCache": image_cache_asset(str(cache.folder))}}
    profile = open_profile("iso", layer, {"version": "v1.9.0"})
    options = BuildOptions(tmp_path / "out.iso", assets=assets)
    with planned_build(profile, options) as planned:
        size = planned.plan.content.size
    assert not options.output.exists()
    written = build(profile, options)
    assert (written.path, written.size) == (options.output, size)
    assert options.output.stat().st_size == size
    wanted = BuildOptions(tmp_path / "out.iso", assets=assets, require_images=["x.example/y:v1"])
    with pytest.raises(InputError, match=r"x\.example/y:v1"):
        build(profile, wanted)


def test_a_certificate_is_made(tmp_path: Path) -> None:
    names = ("ca.crt", "ca.key", "tls.crt", "tls.key")
    ca, ca_key, certificate, key = (tmp_path / name for name in names)
    wanted = ServerCertificate(["192.0.2.7"], ["cache.example"], ca, ca_key, certificate, key)
    issued = make_server_certificate(wanted)
    assert {"192.0.2.7", "cache.example"} <= set(issued.names)
    assert {path.name for path in tmp_path.iterdir()} == {*names, "image-cache-patch.yaml"}


def test_other_versions_replace_those_of_the_release() -> None:
    images = default_images(RELEASE, {"etcd": "v9.8.7"})
    (etcd,) = (each for each in images if "/etcd:" in each)
    assert [each for each in images if each.endswith(":v9.8.7")] == [etcd]


def test_a_cache_is_not_created_where_other_files_are(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="not an image cache"):
        create_cache(NewCache(Images(["a.example/b:v1"]), tmp_path / "file", force=True))
    assert (tmp_path / "file").read_text() == "mine"
