"""`imager images cache-create` when something is wrong: what it says, and what it leaves behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.lib.caches.caches import MANIFEST_TYPE, sha256, tree_files
from tests.lib.registries.programmable import Registry, running_programmable
from tests.lib.registries.registry import make_certificate
from tests.lib.registries.sample import BLOB, BLOB_PATH, MANIFEST, ROOT, fill
from tests.lib.servers.faults import CutAt, NoRanges
from tests.lib.servers.messages import Answer
from tests.lib.tools import cli

INPUT, ENVIRONMENT, DEPENDENCY = 2, 4, 5
TYPED = {"Content-Type": MANIFEST_TYPE}
# What stands in for a disk of 1 MiB: a mount of the command's own, gone with it.
SMALL_DISK = (
    *("unshare", "--map-root-user", "--mount", "sh", "-c"),
    'mount -t tmpfs -o size=1m small "$0" && "$@"; code=$?; ls -A "$0" >&2; exit $code',
)


def arguments(path: Path | str, *options: str, images: Path | str = "-") -> list[str]:
    into = ("--image-cache-path", str(path))
    return ["images", "cache-create", *into, "--images", str(images), *options]


def image(server: Registry, name: str = "team/app:v1") -> str:
    return f"{server.host}/{name}"


def fails(done: cli.Completed, code: int) -> str:
    """Check the exit code and the manner of a failure; return its message."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    _, error, message = done.stderr.partition("error: ")
    assert error, done.stderr
    return message


def refused(folder: Path, server: Registry, code: int, *options: str) -> str:
    """Ask for the image; nothing may be left at or beside the path."""
    started = time.monotonic()
    message = fails(cli.run(*arguments(folder / "cache", *options), stdin=image(server)), code)
    assert not any(folder.iterdir())
    assert time.monotonic() - started < 100  # a lost connection is resumed a few times
    return message


def test_the_server_serves(server: Registry, folder: Path) -> None:
    done = cli.run(*arguments(folder / "cache"), stdin=image(server))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == ["cache"]


@pytest.mark.parametrize(
    ("path", "reply", "code", "said"),
    [
        (BLOB_PATH, Answer(body=BLOB[:-1] + b"x"), DEPENDENCY, "does not match its digest"),
        (BLOB_PATH, Answer(body=BLOB[:-1]), DEPENDENCY, "Content-Length of"),
        (BLOB_PATH, Answer(body=BLOB + b"x"), DEPENDENCY, "Content-Length of"),
        (BLOB_PATH, Answer(404), INPUT, sha256(BLOB)),
        (BLOB_PATH, Answer(403), INPUT, "refuses access"),
        (
            ROOT,
            Answer(body=MANIFEST, headers={**TYPED, "Docker-Content-Digest": "sha256:" + "0" * 64}),
            DEPENDENCY,
            "does not match its digest",
        ),
        (ROOT, Answer(404), INPUT, "is not in the registry"),
        (ROOT, Answer(401), INPUT, "sent no authentication challenge"),
        (
            ROOT,
            Answer(401, headers={"WWW-Authenticate": 'Basic realm="site"'}),
            INPUT,
            "docker login",
        ),
        (ROOT, Answer(body=b"{}", headers=TYPED), INPUT, "schemaVersion"),
        (ROOT, Answer(headers={"Content-Type": "text/html"}), DEPENDENCY, "web page"),
    ],
)
def test_a_registry_that_fails_or_lies(
    *, server: Registry, folder: Path, path: str, reply: Answer, code: int, said: str
) -> None:
    server.always(path, reply)

    message = refused(folder, server, code)

    assert said in message
    assert message.count(f"{server.host}/team/app") == 1
    assert len(server.log.at(path)) == 1


def test_a_tag_that_moved_away_from_the_pinned_digest(server: Registry, folder: Path) -> None:
    digest = f"sha256:{sha256(MANIFEST)}"
    other = MANIFEST.replace(b"{", b"{ ", 1)
    server.always(f"/v2/team/app/manifests/{digest}", Answer(body=other, headers=TYPED))
    done = cli.run(*arguments(folder / "cache"), stdin=image(server, f"team/app:v1@{digest}"))

    assert f"expected {digest}" in fails(done, DEPENDENCY)
    assert not any(folder.iterdir())


def test_a_blob_that_always_breaks_off_is_given_up(server: Registry, folder: Path) -> None:
    server.always(BLOB_PATH, NoRanges(CutAt(99)))
    assert "was lost after 99 bytes" in refused(folder, server, DEPENDENCY, "--retries", "1")
    assert 1 < len(server.log.at(BLOB_PATH)) <= 3


def test_nobody_listens(folder: Path) -> None:
    with running_programmable() as gone:
        pass
    env = {"NO_PROXY": "127.0.0.1"}
    done = cli.run(*arguments(folder / "cache", "--retries", "1"), stdin=image(gone), env=env)
    assert gone.host in fails(done, DEPENDENCY)


def test_a_certificate_that_nobody_signed(folder: Path, tmp_path: Path) -> None:
    with running_programmable(make_certificate(tmp_path)) as server:
        fill(server)
        assert "not trusted" in refused(folder, server, DEPENDENCY)
        done = cli.run(*arguments(folder / "cache", "--insecure"), stdin=image(server))
    assert done.returncode == 0, done.stderr
    assert (folder / "cache/index.json").is_file()


def test_all_images_that_fail_are_named(server: Registry, folder: Path) -> None:
    images = [image(server, name) for name in ("team/gone:v1", "team/app:v2")]
    images += [image(server), "nonsense=oci:/nowhere:v1"]
    done = cli.run(*arguments(folder / "cache"), stdin="\n".join(images))

    message = fails(done, INPUT)
    assert message.startswith("3 images failed:")
    for number, name in enumerate(images, start=1):
        lines = [line for line in message.splitlines() if f"  standard input:{number}: " in line]
        assert [line.count(name) for line in lines] == ([1] if name != image(server) else [])
    assert not any(folder.iterdir())


def test_all_entries_that_are_not_images_are_named_before_a_request(
    server: Registry, folder: Path
) -> None:
    images = [image(server, "team/gone:v1"), "Bad//Name", "registry.local/app:v1=ftp:/there"]
    done = cli.run(*arguments(folder / "cache"), stdin="\n".join(images))

    first, *lines = fails(done, INPUT).splitlines()
    assert first == "2 entries of the image list are invalid:"
    assert [line.partition(": ")[0] for line in lines[:2]] == [
        "  standard input:2",
        "  standard input:3",
    ]
    assert not server.log.requests


def test_an_existing_path_is_kept(server: Registry, folder: Path) -> None:
    first = cli.run(*arguments(folder / "cache"), stdin=image(server))
    assert first.returncode == 0
    before = tree_files(folder)
    server.log.clear()

    message = fails(cli.run(*arguments(folder / "cache"), stdin=image(server)), INPUT)
    assert "exists already" in message
    assert "--force" in message
    assert not server.log.requests

    server.always(BLOB_PATH, Answer(body=BLOB[:-1] + b"x"))
    fails(cli.run(*arguments(folder / "cache", "--force"), stdin=image(server)), DEPENDENCY)
    assert tree_files(folder) == before


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_what_is_no_cache_is_kept(server: Registry, folder: Path, options: list[str]) -> None:
    precious = folder / "home"
    precious.mkdir()
    (precious / "letter").write_text("keep me")
    for path in (precious, precious / "letter"):
        fails(cli.run(*arguments(path, *options), stdin=image(server)), INPUT)
    assert tree_files(folder) == {"home/letter": b"keep me"}
    assert not server.log.requests


def test_force_takes_an_empty_folder_and_the_current_one(server: Registry, folder: Path) -> None:
    done = cli.run(*arguments(".", "--force"), stdin=image(server), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "index.json").is_file()
    assert [path.name for path in folder.parent.iterdir()] == ["folder"]


def test_the_parent_folder_must_exist(server: Registry, folder: Path) -> None:
    done = cli.run(*arguments(folder / "a/cache"), stdin=image(server))
    assert "mkdir -p" in fails(done, INPUT)
    (folder / "a").write_text("")
    fails(cli.run(*arguments(folder / "a/cache"), stdin=image(server)), INPUT)
    assert not server.log.requests


def test_a_folder_that_is_not_writable(server: Registry, folder: Path) -> None:
    folder.chmod(0o555)
    # Root may write everywhere, unless it gives that right away.
    prefix = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if not os.geteuid() else ()
    done = cli.run(*arguments(folder / "cache"), stdin=image(server), prefix=prefix)
    assert "not writable" in fails(done, ENVIRONMENT)
    assert not server.log.requests


def test_a_disk_that_is_too_small(server: Registry, folder: Path) -> None:
    prefix = (*SMALL_DISK, folder)
    done = cli.run(*arguments(folder / "cache"), stdin=image(server), prefix=prefix)
    message = fails(done, ENVIRONMENT)
    assert "free, but 2.0 MiB are needed" in message
    assert ".partial" not in message
    assert not server.log.at(BLOB_PATH)


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_limit_on_file_sizes(server: Registry, folder: Path, compression: str) -> None:
    """It is met half-way, as a full disk would be."""
    limit = 1 << 20
    prefix = ("prlimit", f"--fsize={limit}")
    options = ("--layer-compression", compression)
    done = cli.run(*arguments(folder / "cache", *options), stdin=image(server), prefix=prefix)
    assert "exceeds the largest file size" in fails(done, ENVIRONMENT)
    assert not any(folder.iterdir())


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\r\n  # here\r\n\t\r\n"])
def test_a_list_without_images(folder: Path, text: str) -> None:
    message = fails(cli.run(*arguments(folder / "cache"), stdin=text), INPUT)
    assert "no images in standard input" in message

    (folder / "list").write_text(text)
    message = fails(cli.run(*arguments(folder / "cache", images=folder / "list")), INPUT)
    assert f"no images in {folder / 'list'}" in message
    assert [path.name for path in folder.iterdir()] == ["list"]


def test_lists_that_cannot_be_read(folder: Path) -> None:
    (folder / "binary").write_bytes(b"\xff\xfe\x00app")
    (folder / "folder").mkdir()
    for name in ("missing", "binary", "folder"):
        done = cli.run(*arguments(folder / "cache", images=folder / name))
        message = fails(done, INPUT)
        assert str(folder / name) in message
    assert not (folder / "cache").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--platform", "amd64"), "is not a platform"),
        (("--platform", ","), "--platform is empty"),
        (("--layer-compression", "xz"), "is not one of 'none', 'gzip', 'zstd'"),
    ],
)
def test_options_that_are_wrong(
    server: Registry, folder: Path, options: tuple[str, ...], said: str
) -> None:
    assert said in refused(folder, server, INPUT, *options)


def test_a_line_cannot_speak_to_the_terminal(folder: Path) -> None:
    done = cli.run(*arguments(folder / "cache"), stdin="registry.local/\x1b]0;owned\x07app:v1")
    message = fails(done, INPUT)
    assert "\x1b" not in message
    assert "\x07" not in message
