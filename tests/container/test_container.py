"""The container image, built and run in a real engine in every way that is documented."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.container.engine import BASE_IMAGE, Engine, running_engine
from tests.lib.caches.caches import make_flat, make_layout
from tests.lib.caches.pullable import make_pullable
from tests.lib.servers.loopback import free_port
from tests.lib.tools.cli import (
    REPOSITORY,
    build,
    cut,
    fingerprint,
    gpt_is_sound,
    run,
    synthetic_assets,
    tool,
)

pytestmark = pytest.mark.container

GIB = 1 << 30
# A user that no passwd entry knows.
UID, GID = 12345, 23456
USER = ("--user", f"{UID}:{GID}")
LOCKED_DOWN = ("--network=none", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--env=HOME=")
WAYS: Mapping[str, tuple[str, ...]] = {
    "plain": (),
    "locked down": (*LOCKED_DOWN, *USER),
    "privileged": ("--volume=/dev:/dev", "--privileged"),
}
BUILDS: Mapping[str, tuple[str, ...]] = {
    "metal-amd64.iso": ("iso", "--image-cache=/image-cache.oci"),
    "metal-amd64.raw": (
        *("metal", "--image-cache=/image-cache.oci"),
        *("--image-disk-size=4GiB", "--out-format=raw"),
    ),
}
LABELS = {"VERSION": "v0.1.0-test", "REVISION": "0123456789", "SOURCE": "https://example.org/x"}
# Slow enough to be stopped in the midst of writing.
SLOW = "--cpus=0.3"
STOP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Container:
    """The image `tag` in an engine; `layout` is an image cache for its builds."""

    engine: Engine
    tag: str
    layout: Path

    def imager(
        self,
        *arguments: str | Path,
        options: Sequence[str | Path] = (),
        out: Path | None = None,
        status: int = 0,
        stdin: str = "",
    ) -> str:
        """Run `imager ARGUMENTS` in a new container; return what it says on both streams."""
        mounts = [f"--volume={self.layout}:/image-cache.oci:ro"]
        mounts += [f"--volume={out}:/out"] if out else []
        done = self.engine.docker(
            *("run", "--rm", *mounts, *options, self.tag, *arguments), status=status, stdin=stdin
        )
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with running_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def container(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    folder = tmp_path_factory.mktemp("container")
    layout = make_layout(make_flat(folder / "flat"), folder / "image-cache.oci")
    tag = f"imager-test-{os.getpid()}"
    engine.build(REPOSITORY, tag, arguments=LABELS)
    yield Container(engine, tag, layout)
    engine.docker("rmi", tag)


def output_folder(folder: Path, *, owner: tuple[int, int] | None = None) -> Path:
    """Make a folder that only its owner may write to."""
    folder.mkdir(mode=0o755)
    if owner:
        os.chown(folder, *owner)
    return folder


@pytest.fixture(scope="module")
def outputs(container: Container, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Build everything in each way; return the folder of each."""
    folders = {}
    for way, options in WAYS.items():
        owner = (UID, GID) if USER[0] in options else None
        out = output_folder(tmp_path_factory.mktemp("way") / "_out", owner=owner)
        secure_boot = (f"--volume={out}:/secureboot:ro",) if "--privileged" in options else ()
        for arguments in BUILDS.values():
            container.imager(*arguments, options=(*options, *secure_boot), out=out)
        folders[way] = out
    return folders


def test_labels_say_what_the_image_was_built_from(container: Container) -> None:
    name = "{{json .Config.Labels}}"
    done = container.engine.docker("inspect", "--format", name, container.tag)
    labels = json.loads(done.stdout)
    prefix = "org.opencontainers.image"
    assert {name: labels[f"{prefix}.{name.lower()}"] for name in LABELS} == LABELS
    assert labels[f"{prefix}.base.name"] == BASE_IMAGE


@pytest.mark.parametrize("way", WAYS)
def test_outputs_alone_are_left_and_belong_to_the_user(
    outputs: Mapping[str, Path], way: str
) -> None:
    owner = (UID, GID) if USER[0] in WAYS[way] else (0, 0)
    found = {path.name: path.stat() for path in outputs[way].iterdir()}
    assert set(found) == set(BUILDS)
    assert {(status.st_uid, status.st_gid) for status in found.values()} == {owner}


@pytest.mark.parametrize("name", BUILDS)
def test_outputs_are_the_same_in_every_way(outputs: Mapping[str, Path], name: str) -> None:
    assert len({fingerprint(folder / name) for folder in outputs.values()}) == 1


def test_the_iso_is_sound(outputs: Mapping[str, Path], tmp_path: Path) -> None:
    iso = outputs["locked down"] / "metal-amd64.iso"
    said = tool("xorriso", "-indev", iso, "-report_el_torito", "plain")
    assert "UEFI" in said
    assert "WARNING" not in said
    assert gpt_is_sound(iso)
    short = cut(iso, 0, iso.stat().st_size - (600 << 10), tmp_path / "short.iso")
    assert "WARNING" in tool("xorriso", "-indev", short, status=None)
    assert not gpt_is_sound(short)


def test_the_disk_is_sound(outputs: Mapping[str, Path], tmp_path: Path) -> None:
    disk = outputs["locked down"] / "metal-amd64.raw"
    assert disk.stat().st_size == 4 * GIB
    assert disk.stat().st_blocks * 512 < GIB
    assert gpt_is_sound(disk)
    assert not gpt_is_sound(cut(disk, 0, 4 * GIB - (1 << 20), tmp_path / "short.raw"))


def test_the_host_builds_the_same(
    container: Container, outputs: Mapping[str, Path], tmp_path: Path
) -> None:
    docker = container.engine.docker
    made = docker("create", container.tag).stdout.strip()
    docker("cp", f"{made}:/usr/install", tmp_path / "assets")
    docker("rm", made)
    inside = docker("run", "--rm", "--entrypoint=mkfs.ext4", container.tag, "-V").stderr
    names = ["metal-amd64.iso"]
    if inside == tool("mkfs.ext4", "-V"):
        names.append("metal-amd64.raw")
    for name in names:
        arguments = [
            argument.replace("/image-cache.oci", str(container.layout)) for argument in BUILDS[name]
        ]
        build(*arguments, "--assets", tmp_path / "assets", "--output", tmp_path)
        assert fingerprint(tmp_path / name) == fingerprint(outputs["plain"] / name)


def test_disk_is_compressed_by_default(container: Container, tmp_path: Path) -> None:
    out = output_folder(tmp_path / "_out")
    arguments = ("metal", "--image-cache=/image-cache.oci", "--image-disk-size=4GiB")
    container.imager(*arguments, out=out)
    tool("zstd", "-q", "-t", out / "metal-amd64.raw.zst")


def test_profile_on_standard_input(container: Container, tmp_path: Path) -> None:
    out = output_folder(tmp_path / "_out", owner=(UID, GID))
    profile = """\
arch: amd64
platform: metal
input:
  imageCache:
    ociPath: /image-cache.oci
output:
  kind: iso
"""
    options = ("--interactive", *LOCKED_DOWN, *USER)
    container.imager("-", options=options, out=out, stdin=profile)
    assert [path.name for path in out.iterdir()] == ["metal-amd64.iso"]


def test_secureboot_with_keys_where_the_documents_mount_them(
    container: Container, tmp_path: Path
) -> None:
    out = output_folder(tmp_path / "_out", owner=(UID, GID))
    keys = (f"--volume={out}:/secureboot:ro",)
    container.imager("secureboot", "gen-keys", "/out/keys", options=(*LOCKED_DOWN, *USER), out=out)
    for path in (out / "keys").iterdir():
        path.rename(out / path.name)
    (out / "keys").rmdir()
    arguments = ("secureboot-iso", "--image-cache=/image-cache.oci")
    container.imager(*arguments, options=(*LOCKED_DOWN, *USER, *keys), out=out)
    iso = out / "metal-amd64-secureboot.iso"
    done = run("secureboot", "verify", iso, "--cert", out / "uki-signing-cert.pem")
    assert done.returncode == 0, done.stderr


def test_folder_it_may_not_write_gets_a_hint(container: Container, tmp_path: Path) -> None:
    out, options = output_folder(tmp_path / "_out"), (*LOCKED_DOWN, *USER)
    said = container.imager("iso", options=options, out=out, status=4)
    assert f"error: the output folder /out is not writable for user {UID}" in said
    assert "hint: in a container run with --user $(id -u):$(id -g)" in said
    assert not list(out.iterdir())
    said = container.imager("iso", options=options, status=4)
    assert "error: the output folder /out is on a read-only file system" in said
    assert 'hint: mount a folder of the host there: -v "$PWD/_out:/out"' in said


def test_commands_that_need_no_output(container: Container) -> None:
    options = (*LOCKED_DOWN, *USER)
    assert container.imager("--version", options=options) == run("--version").stdout
    listed = container.imager("images", "default", options=options)
    assert listed == run("images", "default").stdout
    assert "Usage: imager" in container.imager(options=options)


def test_default_boot_assets_are_inside(container: Container) -> None:
    said = container.imager("assets", "list", options=(*LOCKED_DOWN, *USER))
    assert "/usr/install: used\n" in said
    for name in ("vmlinuz", "initramfs.xz", "systemd-boot.efi", "systemd-stub.efi"):
        assert f"/usr/install/amd64/{name}" in said
    assert "from linux-image-" in said


@pytest.fixture(scope="module")
def large_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make a cache of 512 MiB."""
    folder = tmp_path_factory.mktemp("large") / "flat"
    yield make_flat(folder, images=4, layers=1, blob_size=128 << 20).folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "arguments",
    [("iso", "--checksum"), ("iso",), ("metal", "--checksum"), ("metal", "--out-format=raw")],
)
def test_docker_stop_ends_cleanly(
    container: Container, large_cache: Path, tmp_path: Path, arguments: Sequence[str]
) -> None:
    out = output_folder(tmp_path / "_out", owner=(UID, GID))
    docker = container.engine.docker
    mounts = (f"--volume={large_cache}:/image-cache.oci:ro", f"--volume={out}:/out")
    options = ("--detach", SLOW, *LOCKED_DOWN, *USER, *mounts)
    name = docker(
        "run", *options, container.tag, *arguments, "--image-cache=/image-cache.oci"
    ).stdout.strip()
    try:
        deadline = time.monotonic() + 60
        while not list(out.glob(".*.partial")):
            assert time.monotonic() < deadline, docker("logs", name).stderr
            time.sleep(0.01)
        started = time.monotonic()
        docker("stop", name)
        seconds = time.monotonic() - started
        state = json.loads(docker("inspect", "--format={{json .State}}", name).stdout)
        said = docker("logs", name).stderr
    finally:
        docker("rm", "--force", name)
    assert state["ExitCode"] == 143, said
    assert "terminated" in said
    assert "Traceback" not in said
    assert seconds < STOP_SECONDS
    assert not list(out.iterdir())


def test_docker_pulls_from_the_container_that_serves(container: Container, tmp_path: Path) -> None:
    docker = container.engine.docker
    cache = make_pullable(tmp_path / "cache")
    address = f"127.0.0.1:{free_port()}"
    options = ("--network=host", "--read-only", "--cap-drop=ALL", f"--volume={cache.folder}:/c:ro")
    serve = ("images", "cache-serve", "/c", f"--address={address}")
    name = docker("run", "--detach", *options, container.tag, *serve).stdout.strip()
    pulled = []
    try:
        deadline = time.monotonic() + 60
        while "serving on" not in docker("logs", name).stderr:
            assert time.monotonic() < deadline, docker("logs", name).stderr
            time.sleep(0.1)
        for image in cache.images:
            if image.repository == "team/deep/er/app":
                continue  # Debian's Docker knows no zstd
            # Without ?ns=, and so with the registry in the name where it can stand there.
            registry = "" if ":" in image.registry else f"{image.registry}/"
            place = f"{address}/{registry}{image.repository}"
            pulled.append(f"{place}@{image.digest}")
            docker("pull", pulled[-1])
            if image.tag:
                docker("pull", f"{place}:{image.tag}")
                pulled.append(f"{place}:{image.tag}")
            found = docker("inspect", "--format={{.Id}}", pulled[-1]).stdout.strip()
            assert found == image.manifests[0].config_digest
        assert docker("pull", f"{address}/none/such:v1", status=None).returncode != 0
        docker("stop", name)
        state = json.loads(docker("inspect", "--format={{json .State}}", name).stdout)
    finally:
        docker("rm", "--force", name)
        docker("rmi", *pulled, status=None)
    assert state["ExitCode"] == 0


def test_boot_assets_of_another_image(container: Container, tmp_path: Path) -> None:
    docker = container.engine.docker
    context = tmp_path / "assets-image"
    synthetic_assets(context)
    (context / "amd64/grub").unlink()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY amd64 /usr/install/amd64\n")
    other, tag = f"{container.tag}-assets", f"{container.tag}-other"
    container.engine.build(context, other)
    container.engine.build(REPOSITORY, tag, arguments={"ASSETS_IMAGE": other})
    out = output_folder(tmp_path / "_out", owner=(UID, GID))
    mine = Container(container.engine, tag, container.layout)
    options = (*LOCKED_DOWN, *USER)
    assert "6.12.6-talos" in mine.imager("assets", "list", options=options)
    mine.imager("iso", "--output-kind=kernel", options=options, out=out)
    (kernel,) = out.iterdir()
    assert kernel.read_bytes() == (context / "amd64/vmlinuz").read_bytes()
    assert not (context / "amd64/grub/i386-pc").exists()
    mine.imager("iso", options=options, out=out)
    assert (out / "metal-amd64.iso").is_file()
    docker("rmi", tag, other)
