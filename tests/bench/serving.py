"""The registry server held against nginx: the same files, the same client, in turn."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.lib.caches.caches import CacheFixture, make_flat, make_layout
from tests.lib.registries.serving import serving
from tests.lib.servers.loopback import free_port
from tests.lib.tools.cli import MIB, environment

_CONNECTIONS = 64
_SECONDS = 4
_LIMIT = 0.8
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_HEAD = (
    "| what 64 connections ask for | imager | nginx | ratio | limit | peak, MiB | |",
    "|---|--:|--:|--:|--:|--:|---|",
)
_NGINX = """
{user}
worker_processes auto;
daemon off;
pid {folder}/pid;
error_log {folder}/errors;
events {{ worker_connections 4096; }}
http {{
  access_log {folder}/access;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked for: paths at our server and, of the same bytes, at nginx."""

    name: str
    served: Path
    root: Path
    paths: Sequence[tuple[str, str]]
    limit: float | None = None
    in_requests: bool = False


def serving_table(folder: Path, *, rounds: int) -> str:
    """Measure all loads, and return the table of the medians."""
    shutil.rmtree(folder, ignore_errors=True)
    rows = [_row(load, folder / "nginx", rounds) for load in _loads(folder)]
    return "\n".join([*_HEAD, *rows, ""])


def _loads(folder: Path) -> Iterator[Load]:
    small = make_flat(folder / "small", images=4, layers=4, blob_size=10_000_000)
    large = make_flat(folder / "large", images=2, layers=2, blob_size=100_000_000)
    layout = make_layout(small, folder / "layout")
    yield Load("blobs of 10 MB, flat", small.folder, small.folder, _blobs(small), _LIMIT)
    yield Load("the same out of an OCI layout's layer", layout, small.folder, _blobs(small), _LIMIT)
    yield Load("blobs of 100 MB, flat", large.folder, large.folder, _blobs(large), _LIMIT)
    yield Load("manifests", small.folder, small.folder, _manifests(small), in_requests=True)


def _blobs(cache: CacheFixture) -> list[tuple[str, str]]:
    return [
        (f"/v2/bench/blobs/{path.name.replace('-', ':')}", f"/blob/{path.name}")
        for path in cache.blobs
        if path.stat().st_size > MIB
    ]


def _manifests(cache: CacheFixture) -> list[tuple[str, str]]:
    paths = sorted(cache.folder.glob("manifests/*/**/reference/v1"))
    return [
        (
            f"/v2/{'/'.join(path.relative_to(cache.folder).parts[2:-2])}/manifests/v1",
            f"/{path.relative_to(cache.folder)}",
        )
        for path in paths
    ]


def _row(load: Load, folder: Path, rounds: int) -> str:
    runs: dict[str, list[float]] = {"imager": [], "nginx": []}
    with serving(load.served) as ours, _nginx(folder, load.root) as port:
        # Every blob has been checked once; that is not what is measured.
        sides = {
            "imager": (ours.url, [path for path, _ in load.paths]),
            "nginx": (f"http://127.0.0.1:{port}", [path for _, path in load.paths]),
        }
        for url, paths in sides.values():
            for path in paths:
                urllib.request.urlopen(url + path, timeout=60).read()
        for number in range(rounds):
            for side in random.Random(number).sample(sorted(sides), len(sides)):
                runs[side].append(_load(*sides[side], folder, in_requests=load.in_requests))
        peak = ours.memory()
    mine, theirs = median(runs["imager"]), median(runs["nginx"])
    ratio = mine / theirs
    limit = f"{load.limit:.1f}" if load.limit else ""
    verdict = "" if load.limit is None else "holds" if ratio >= load.limit else "**too slow**"
    shown = " | ".join(_shown(each, load) for each in (mine, theirs))
    return f"| {load.name} | {shown} | {ratio:.2f} | {limit} | {peak / MIB:.0f} | {verdict} |"


def _shown(number: float, load: Load) -> str:
    return f"{number:.0f}/s" if load.in_requests else f"{number / 1e9:.2f} GB/s"


def _load(url: str, paths: Sequence[str], folder: Path, *, in_requests: bool) -> float:
    """Return the bytes, or the requests, that wrk gets answered in a second."""
    script = folder / "paths.lua"
    script.write_text(
        f"local paths = {{{', '.join(map(json.dumps, paths))}}}\n"
        "local n = 0\n"
        'request = function() n = n % #paths + 1; return wrk.format("GET", paths[n]) end\n'
    )
    wrk: list[str | Path] = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{_SECONDS}s", "-s", script, url]
    done = subprocess.run(wrk, capture_output=True, text=True, check=True)
    assert "Non-2xx" not in done.stdout, done.stdout
    if in_requests:
        return float(re.findall(r"Requests/sec: +([0-9.]+)", done.stdout)[0])
    number, unit = re.findall(r"Transfer/sec: +([0-9.]+)([KMG]?)B", done.stdout)[0]
    return float(number) * _UNITS[unit]


@contextlib.contextmanager
def _nginx(folder: Path, root: Path) -> Iterator[int]:
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    settings = folder / "nginx.conf"
    # Else its workers, being nobody, may not read what root has made.
    user = "user root;" if os.geteuid() == 0 else ""
    settings.write_text(_NGINX.format(user=user, folder=folder, port=port, root=root))
    process = subprocess.Popen(["nginx", "-c", settings], env=environment())
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=10)
