"""Breaks of what a person sees: help, progress, colors, exit codes."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_ERRORS = "tests/unit/test_errors.py"
_HELP = "tests/unit/test_cli_help.py"
_RESULTS = "tests/unit/test_cli_results.py"
_METER = "tests/unit/test_meter.py"
_REPORTER = "tests/unit/test_reporter.py"
_TRACING = "tests/unit/test_oci_tracing.py"
_WORKSPACE = "tests/unit/test_workspace.py"
_CLEAN = "tests/unit/test_assets_clean.py"

MUTANTS = (
    Mutant(
        "a read-only file system is no missing permission",
        "imager/support/errors.py",
        "_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})",
        "_DENIED = frozenset({errno.EACCES, errno.EPERM})",
        f"{_ERRORS}::test_permissions_are_the_machines",
    ),
    Mutant(
        "what is missing a permission is hidden behind another error",
        "imager/support/errors.py",
        "        cause = cause.__cause__\n",
        "        cause = None\n",
        f"{_ERRORS}::test_permissions_are_the_machines",
    ),
    Mutant(
        "several failures forget that a permission was missing",
        "imager/support/errors.py",
        "    error.__cause__ = first.__cause__\n",
        "",
        f"{_ERRORS}::test_permissions_are_the_machines",
    ),
    Mutant(
        "a file that may not be read is an error of the options",
        "imager/cli/declare.py",
        "    own.readable = False\n",
        "",
        f"{_HELP}::test_whether_a_file_may_be_read_shows_when_it_is_read",
    ),
    Mutant(
        "a cache that may not be read is damaged",
        "imager/cache/verify.py",
        "    if denied := next(filter(is_denied, errors), None):\n        raise denied\n",
        "",
        "tests/unit/test_cache_verify.py::test_what_may_not_be_read_is_not_damaged",
    ),
    Mutant(
        "the doctor looks at devices without being root",
        "imager/app/node.py",
        "    if os.geteuid() != 0:\n",
        "    if os.geteuid() < 0:\n",
        f"{_RESULTS}::test_the_doctor_needs_root",
    ),
    Mutant(
        "bytes that were there before count as speed",
        "imager/support/meter.py",
        "        if not isinstance(count, Kept):\n",
        "        if count:\n",
        f"{_METER}::test_what_is_kept_is_no_speed",
    ),
    Mutant(
        "a resumed blob counts as speed",
        "imager/cache/resume.py",
        "        work.advance(Kept(len(piece)))\n",
        "        work.advance(len(piece))\n",
        "tests/unit/test_imagecache_transfer.py::test_what_an_earlier_run_left_is_no_speed",
    ),
    Mutant(
        "a blob of the layer cache counts as speed",
        "imager/cache/blobstore.py",
        "        work.advance(Kept(wanted.blob.size))\n",
        "        work.advance(wanted.blob.size)\n",
        "tests/unit/test_imagecache_blobstore.py::test_what_is_there_is_no_speed",
    ),
    Mutant(
        "a line of progress is wider than the terminal",
        "imager/support/meter.py",
        '    return f"{shortened(label, width - 2 - len(tail))}  {tail}"[:width]\n',
        '    return f"{label}  {tail}"\n',
        f"{_METER}::test_a_line_for_each_width",
    ),
    Mutant(
        "help breaks words at hyphens",
        "imager/cli/help.py",
        "break_on_hyphens=False",
        "break_on_hyphens=True",
        f"{_HELP}::test_a_page",
    ),
    Mutant(
        "help is as wide as any terminal",
        "imager/cli/help.py",
        "_WIDEST), _NARROWEST)",
        "_WIDEST), 80)",
        f"{_HELP}::test_the_width_is_that_of_the_terminal",
    ),
    Mutant(
        "NO_COLOR does not win",
        "imager/support/screen.py",
        '    if NO_COLOR in sys.argv or os.environ.get("NO_COLOR"):\n',
        "    if NO_COLOR in sys.argv:\n",
        f"{_REPORTER}::test_colors",
    ),
    Mutant(
        "a dumb terminal gets bars",
        "imager/support/reporter.py",
        "stream.isatty() and not is_dumb()",
        "stream.isatty()",
        f"{_REPORTER}::test_what_takes_lines_alone",
    ),
    Mutant(
        "requests are printed without --verbose",
        "imager/support/reporter.py",
        "logging.DEBUG if verbose else logging.INFO",
        "logging.DEBUG",
        f"{_REPORTER}::test_retries_and_requests_are_told",
    ),
    Mutant(
        "a signature in a URL is logged",
        "imager/oci/tracing.py",
        '"?..." if parts.query else ""',
        'f"?{parts.query}" if parts.query else ""',
        f"{_TRACING}::test_every_request",
    ),
    Mutant(
        "a retry of urllib3 is silent",
        "imager/oci/httpretry.py",
        '        log_retry(f"{public_url(self.asked)}: {failure}", pause)\n',
        "",
        f"{_TRACING}::test_a_busy_registry",
    ),
    Mutant(
        "--quiet keeps answers back",
        "imager/cli/options.py",
        "        else:\n            typer.echo(printable(",
        "        elif not self.quiet:\n            typer.echo(printable(",
        f"{_RESULTS}::test_lists_are_printed_though_quiet",
    ),
    Mutant(
        "the scratch folder of a killed run stays",
        "imager/support/partials.py",
        '    place = temporary_place() / f"imager-{os.geteuid()}"\n',
        '    place = temporary_place() / f"imager-{os.getpid()}"\n',
        f"{_WORKSPACE}::test_a_scratch_folder_of_a_killed_run_is_removed_by_the_next",
    ),
    Mutant(
        "a hint's command takes a name apart",
        "imager/support/folders.py",
        'hint=f"mkdir -p {shlex.quote(str(folder))}"',
        'hint=f"mkdir -p {folder}"',
        f"{_WORKSPACE}::test_output_folders_that_will_not_do",
    ),
    Mutant(
        "cleaning removes what a run is downloading",
        "imager/distro/clean.py",
        "bool(_LEFTOVER.fullmatch(path.name)) and not is_in_use(path)",
        "bool(_LEFTOVER.fullmatch(path.name))",
        f"{_CLEAN}::test_what_a_run_is_downloading_stays",
    ),
    Mutant(
        "cleaning removes boot assets of others",
        "imager/distro/clean.py",
        "                read_lock(folder / RECORD, arch)\n",
        "",
        f"{_CLEAN}::test_all_that_is_ours",
    ),
    Mutant(
        "a damaged blob does not say whose it is",
        "imager/cache/cache.py",
        "what=named.of(digest)",
        'what=f"blob {digest}"',
        "tests/unit/test_image_volumes.py::test_a_blob_in_pieces_is_checked_as_one",
    ),
    Mutant(
        "the end of a terminal kills",
        "imager/__main__.py",
        "        signal.signal(signal.SIGHUP, _stop)\n",
        "        pass\n",
        "tests/fault/test_output_errors.py::test_signal_half_way_leaves_nothing",
    ),
    Mutant(
        "a full disk is not named",
        "imager/support/folders.py",
        "placed = no_room(error, folder if named.is_relative_to(folder) else named.parent)",
        "placed = None",
        "tests/unit/test_workspace.py::test_an_error_names_the_place_without_room",
    ),
    Mutant(
        "a wrong TMPDIR is passed over",
        "imager/support/folders.py",
        "    if not chosen:\n",
        "    if True:\n",
        "tests/fault/test_output_errors.py::test_a_folder_for_temporary_files_that_is_none",
    ),
    Mutant(
        "what cannot be told stops the run",
        "imager/support/streams.py",
        "            return memoryview(data).nbytes\n",
        "            raise\n",
        "tests/fault/test_console.py::test_full_standard_error",
    ),
)
