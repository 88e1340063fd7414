"""The options that say where the output of a build goes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from imager.cli.declare import flag, option
from imager.cli.help import OUTPUT
from imager.cli.options import (
    DEFAULT_OUTPUT,
    RequiredImages,
    default_output,
)
from imager.support.inputs import STDIN

if TYPE_CHECKING:
    from imager.image.stream import Stream

_STDOUT = Path(STDIN)
_ONE_PLACE = "choose one of them"

# What is wrong, and a hint.
Problem = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Output:
    """The options for the place of the output, and how it is written."""

    PANEL: ClassVar[str] = OUTPUT

    output: Annotated[
        Path | None,
        option(
            "FOLDER|FILE|-",
            "Folder for the output, or a file with its suffix; created if missing. "
            "- is standard output.",
            "--output",
            "-o",
            default=DEFAULT_OUTPUT,
        ),
    ] = None
    tar_to_stdout: Annotated[
        bool,
        flag("--tar-to-stdout", "Write the output to standard output, in a tar.gz."),
    ] = False
    output_device: Annotated[
        Path | None,
        option("DISK", "Write to this disk, such as /dev/sdX, instead of to a file."),
    ] = None
    push: Annotated[
        str | None,
        option("REF", "Push an installer image to a registry instead of writing a file."),
    ] = None
    yes: Annotated[bool, flag("--yes", "With --output-device: do not ask before writing.")] = False
    bmap: Annotated[
        bool, flag("--bmap", "Also write OUTPUT.bmap, by which bmaptool writes the image.")
    ] = False
    no_clobber: Annotated[
        bool, flag("--no-clobber", "Fail rather than replace an existing output.")
    ] = False
    require_images: RequiredImages = None
    verify: Annotated[
        bool,
        option(
            None,
            "Check the digest of every blob while it is copied; manifests are always checked.",
        ),
    ] = True
    checksum: Annotated[bool, flag("--checksum", "Print the SHA-256 of the output.")] = False
    dry_run: Annotated[bool, flag("--dry-run", "Print the plan and write nothing.")] = False
    files: Annotated[
        bool,
        flag("--files", "With --dry-run, print the offset and size of every part of the output."),
    ] = False

    def place(self) -> Path:
        """Return the output folder or file."""
        return self.output or default_output()

    @property
    def sent(self) -> str:
        """The option that sends the output to standard output; empty without one."""
        if self.tar_to_stdout:
            return "--tar-to-stdout"
        return "--output -" if self.output == _STDOUT else ""

    def stream(self) -> Stream | None:
        """Return where to send the output; None if it is not sent."""
        if not self.sent:
            return None
        from imager.image.stream import Stream

        return Stream(sys.stdout.buffer, tar=self.tar_to_stdout)

    def problems(self, *, as_json: bool) -> Iterator[Problem]:
        """Yield what is wrong with the options together; `as_json` stands for --json."""
        if self.files and not self.dry_run:
            yield "--files needs --dry-run", "add --dry-run"
        if self.tar_to_stdout and self.output:
            yield f"--tar-to-stdout and --output {self.output} exclude each other", _ONE_PLACE
        others = {"--output-device": self.output_device, "--push": self.push}
        places = [self.sent, *(name for name, value in others.items() if value)]
        given = [name for name in places if name]
        if len(given) > 1:
            yield f"{' and '.join(given)} exclude each other", _ONE_PLACE
        if not self.sent:
            return
        if self.bmap and not self.tar_to_stdout:
            yield "--bmap makes a second file, and --output - sends one", "use --tar-to-stdout"
        if self.dry_run:
            return
        if as_json:
            yield (
                f"--json and {self.sent} both write to standard output",
                "omit --json; --progress json prints progress as JSON on standard error",
            )
        if sys.stdout.isatty():
            yield (
                f"{self.sent}: standard output is a terminal",
                "redirect it to a file or a program (> FILE, | PROGRAM); omit -t of docker run",
            )
