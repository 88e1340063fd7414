"""Shell completion: commands, choices, profiles; as the shells ask for it."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.lib.tools.cli import IMAGER, environment, run

_EMPTY = "''"
WORDS = {
    "imager iso --bootloader ": ["dual-boot", "sd-boot", "grub"],
    "imager profile show metal": ["metal", "metal-4k", "metal-uki"],
    "imager images cache-v": ["cache-verify"],
    "imager iso --secureboot-e": ["--secureboot-enroll-keys"],
}


def test_bash_completes(tmp_path: Path) -> None:
    """The script that --show-completion prints, in a real bash."""
    program = tmp_path / "imager"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(IMAGER)} "$@"\n')
    program.chmod(0o755)
    script = run(env={"_IMAGER_COMPLETE": "source_bash"}).stdout
    (function,) = [line.partition("(")[0] for line in script.splitlines() if line.endswith("() {")]
    asked = "".join(
        f"COMP_WORDS=({line}{_EMPTY if line.endswith(' ') else ''}); "
        f"COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); {function} imager; echo ${{COMPREPLY[@]}}\n"
        for line in WORDS
    )
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{asked}"],
        env=environment({"PATH": f"{tmp_path}:/usr/bin:/bin"}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [" ".join(words) for words in WORDS.values()], done.stderr


@pytest.mark.parametrize(
    ("shell", "more", "said"),
    [
        ("fish", {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}, "dual-boot\nsd-boot\ngrub\n"),
        ("zsh", {}, '_arguments \'*: :(("dual-boot"\n"sd-boot"\n"grub"))\'\n'),
    ],
)
def test_what_other_shells_are_told(shell: str, more: dict[str, str], said: str) -> None:
    asked = {
        "_IMAGER_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": "imager iso --bootloader ",
        **more,
    }
    assert run(env=asked).stdout == said


def test_it_can_be_installed() -> None:
    done = run("--help")
    assert "--install-completion" in done.stdout
