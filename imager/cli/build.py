"""Implement the command of every profile, whose options override the profile's fields."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import typer

from imager.cli.build_options import Inputs, SecureBoot, Shape
from imager.cli.layers import opened_layers
from imager.cli.lock import Locked
from imager.cli.options import Registries, Results
from imager.cli.output_options import Output, Problem
from imager.cli.release_options import ReleaseFiles
from imager.support.errors import InputError

if TYPE_CHECKING:
    from imager.app.build_options import BuildOptions


def build(
    context: typer.Context,
    *,
    inputs: Inputs,
    locked: Locked,
    shape: Shape,
    output: Output,
    release: ReleaseFiles,
    secureboot: SecureBoot,
    registries: Registries,
    display: Results,
) -> None:
    """Build the profile that the command is named after."""
    from imager.app.build import planned_build, push_build, write_build
    from imager.cli import build_text
    from imager.cli.push import pushed_json, pushed_text

    _check([*output.problems(as_json=display.json_output), *release.problems(output)])
    source = context.info_name or ""
    options = _options(inputs, output, release, secureboot, registries)
    reporter = display.reporter()
    started = time.monotonic()
    lock = locked.read()
    if lock:
        from imager.app.lock.build_lock import check_lock, locked_options

        options = locked_options(options, lock)
    groups = (inputs, shape, secureboot)
    with ExitStack() as stack:
        opened, naming = stack.enter_context(opened_layers(source, groups, options, reporter))
        if lock:
            check_lock(lock, opened, options, reporter, source=str(locked.locked))
        if options.release.lists_inputs and options.writes_file:
            from imager.app.lock.build_lock import described_options

            options = described_options(options, opened, reporter)
        build_plan = stack.enter_context(
            planned_build(opened.profile, options, reporter, overlay=opened.overlay)
        )
        planned = naming.notes(build_plan)
        if output.dry_run:
            text = build_text.files_text if output.files else build_text.plan_text
            display.answer(text, build_text.plan_json, planned, naming)
            planned.check_space()
            return
        if output.push:
            pushed = push_build(planned, options, reporter)
            display.answer(pushed_text, pushed_json, pushed)
            return
        if planned.device and not output.yes:
            _ask(planned.device.described)
        written_file = write_build(planned, options, reporter)
        seconds = time.monotonic() - started
    if options.stream:
        display.summary_beside(build_text.result_text, planned, written_file, seconds)
        return
    display.summary(build_text.result_text, build_text.result_json, planned, written_file, seconds)


def _options(
    inputs: Inputs,
    output: Output,
    release: ReleaseFiles,
    secureboot: SecureBoot,
    registries: Registries,
) -> BuildOptions:
    from imager.app.build_options import BuildOptions

    return BuildOptions(
        output=output.place(),
        assets=inputs.asset_place(),
        layer_cache=inputs.layer_cache,
        registries=registries.given(),
        require_images=output.require_images or (),
        verify=output.verify,
        checksum=output.checksum,
        dry_run=output.dry_run,
        clobber=not output.no_clobber,
        secureboot=secureboot.secureboot_dir,
        device=output.output_device,
        bmap=output.bmap,
        release=release.chosen(),
        push=output.push,
        stream=output.stream(),
    )


def _check(problems: Sequence[Problem]) -> None:
    """Raise InputError with all combinations of options that exclude each other."""
    if len(problems) == 1:
        ((message, hint),) = problems
        raise InputError(message, hint=hint)
    if problems:
        listed = "".join(f"\n  {message}: {hint}" for message, hint in problems)
        raise InputError(f"{len(problems)} problems with the options:{listed}")


def _ask(device: str) -> None:
    """Ask whether to overwrite the disk `device`; raises InputError unless the answer is yes."""
    if not sys.stdin.isatty():
        raise InputError(
            f"--output-device: everything on {device} would be lost",
            hint="give --yes to write without a question",
        )
    if not typer.confirm(f"Everything on {device} will be lost. Write to it?", err=True):
        raise InputError("nothing was written")
