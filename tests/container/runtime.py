"""A container runtime: runc, for machines that do not have every capability themselves.

`docker run --privileged` asks for all capabilities that the kernel knows. Engines from version 23
on ask for those alone that the machine has; this does the same for older ones.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

_BUNDLE_OPTIONS = ("--bundle", "-b")


def main() -> None:
    """Run runc with the arguments of the process."""
    for option, value in zip(sys.argv, sys.argv[1:], strict=False):
        if option in _BUNDLE_OPTIONS:
            _leave_out_what_is_missing(Path(value, "config.json"))
    os.execvp("runc", ["runc", *sys.argv[1:]])


def _leave_out_what_is_missing(config: Path) -> None:
    spec = json.loads(config.read_text())
    here = _own_capabilities()
    sets = spec.get("process", {}).get("capabilities", {})
    for kind, names in sets.items():
        sets[kind] = [name for name in names if name in here]
    config.write_text(json.dumps(spec))


def _own_capabilities() -> set[str]:
    said = subprocess.run(["setpriv", "--dump"], capture_output=True, text=True, check=True)
    found = re.search(r"^Capability bounding set: (\S+)$", said.stdout, re.MULTILINE)
    assert found is not None, said.stdout
    return {f"CAP_{name.upper()}" for name in found[1].split(",")}


if __name__ == "__main__":
    main()
