"""Format the status of a machine's image cache as text, YAML and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from imager.cli.tables import json_object, mebibytes, table
from imager.node.diagnosis import Finding
from imager.node.status import CopyStatus, NodeStatus, RootStatus
from imager.support.units import format_size


def status_yaml(status: NodeStatus) -> str:
    """Return the resource as YAML, in the format of talosctl."""
    return yaml.safe_dump(status.document(), sort_keys=False, width=1000).rstrip()


def status_table(status: NodeStatus, *, running: bool) -> Iterator[str]:
    """Format the status as text; `running` is whether the cache is being served."""
    yield f"image cache  {_because(status.status.value, status.reason)}"
    yield f"copy         {_because(_copy(status), status.copy_reason)}"
    if running:
        yield f"served       {status.url or 'no'}"
    else:
        yield "served       no: `imager node run` is not running; this is its last status"
    if status.roots:
        yield ""
        rows = [("IMAGES", "BLOBS", "SIZE", "DEVICE", "FILE SYSTEM", "LABEL", "ROOT")]
        rows += [_row(root) for root in status.roots]
        yield from table(rows, numbers=3)
        for root in status.roots:
            if root.problem:
                yield f"{root.root}: {root.problem}"
    if status.absent:
        yield from ("", "requested, but not in any cache:")
        yield from (f"  {reference}" for reference in status.absent)
    if status.damaged:
        yield from ("", "requested, but damaged:")
        yield from (f"  {problem}" for problem in status.damaged)


def _because(text: str, reason: str) -> str:
    return f"{text}: {reason}" if reason else text


def _copy(status: NodeStatus) -> str:
    match status.copy_status:
        case CopyStatus.READY if status.to_copy:
            return f"ready, {format_size(status.to_copy)}"
        case CopyStatus.PENDING if status.to_copy:
            return f"pending, {format_size(status.copied)} of {format_size(status.to_copy)}"
        case other:
            return other.value


def _row(root: RootStatus) -> tuple[str, str, str, str, str, str, str]:
    return (
        str(root.images),
        str(root.blobs),
        mebibytes(root.size),
        root.device,
        root.filesystem,
        root.label,
        root.root,
    )


def findings_text(findings: Sequence[Finding]) -> Iterator[str]:
    """Format each problem and its remedy in two lines."""
    if not findings:
        yield "no problems found: images are pulled from the cache"
    for each in findings:
        yield f"{each.problem}\n  -> {each.advice}"


def findings_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings for JSON."""
    return {"ok": not findings, "findings": [*map(json_object, findings)]}


def unit_text(config: Path) -> str:
    """Return the systemd unit of `imager node run`; see systemd.service(5).

    Before= delays containerd and kubelet until the unit is ready, and has no effect if they are
    not installed.
    """
    program = f"{_quoted(sys.executable)} -m imager"
    return f"""\
[Unit]
Description=Image cache of this machine
Before=containerd.service kubelet.service
ConditionPathExists={_percents(str(config))}

[Service]
Type=notify
NotifyAccess=main
ExecStart={program} node run --config {_quoted(str(config))} --progress plain
ExecReload=/bin/kill -HUP $MAINPID
# A cache may take long to be copied.
TimeoutStartSec=infinity
RemainAfterExit=yes
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""


def _quoted(word: str) -> str:
    """Quote a word of a command line; see systemd.service(5), "Command lines"."""
    return _percents(json.dumps(word, ensure_ascii=False)).replace("$", "$$")


def _percents(text: str) -> str:
    return text.replace("%", "%%")
