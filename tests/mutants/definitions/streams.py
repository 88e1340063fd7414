"""Breaks of outputs on standard output, and of inputs that are carried into outputs."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_STREAM = "imager/image/stream.py"
_TESTS = "tests/unit/test_stream.py"
_PIPES = "tests/oracle/test_output_stdout.py"
_IMAGES = "tests/unit/test_assets_from_image.py"

MUTANTS = (
    Mutant(
        "the last bytes are sent before the checks have passed",
        _STREAM,
        "                advance(covered)\n        file.write(held)",
        "                advance(covered)\n            file.write(held)",
        f"{_TESTS}::test_what_fails_at_its_end_is_incomplete",
    ),
    Mutant(
        "nobody is told that what was sent must not be used",
        _STREAM,
        "        _added(error, job)\n        raise",
        "        raise",
        f"{_TESTS}::test_what_fails_at_its_end_is_incomplete",
    ),
    Mutant(
        "a reader that is gone is an error",
        _STREAM,
        "    except BrokenPipeError:\n        raise\n",
        "",
        f"{_TESTS}::test_a_reader_that_is_gone_ends_it_quietly",
    ),
    Mutant(
        "a compressed output in a tar is not compressed",
        _STREAM,
        "(self.tar and out_format is not OutFormat.RAW)",
        "False",
        f"{_TESTS}::test_what_must_be_a_file_first",
    ),
    Mutant(
        "the checksum is that of the tar",
        _STREAM,
        "return Written(job.path, job.disk.size, sha256())",
        "return _send(sent, file, progress)",
        f"{_TESTS}::test_a_tar_has_the_output_and_its_bmap",
    ),
    Mutant(
        "holes are left out of what is sent",
        "imager/image/write.py",
        "yield from map(Packed, zeros(piece))",
        "pass",
        f"{_TESTS}::test_what_is_sent_is_the_file",
    ),
    Mutant(
        "the summary goes to standard output too",
        "imager/cli/options.py",
        'typer.echo(printable("\\n".join(text(*args, **kwargs))), err=True)',
        'typer.echo(printable("\\n".join(text(*args, **kwargs))))',
        f"{_PIPES}::test_standard_output_has_the_bytes_of_the_file",
    ),
    Mutant(
        "an image is written to a terminal",
        "imager/cli/output_options.py",
        "if sys.stdout.isatty():",
        "if False:",
        f"{_PIPES}::test_a_terminal_is_refused",
    ),
    Mutant(
        "the free space of /dev is shown",
        "imager/app/build.py",
        "return path.parent if options.names_file else None",
        "return path.parent",
        "tests/unit/test_build_results.py::test_the_plan_of_what_is_sent_needs_no_space",
    ),
    Mutant(
        "the byte order mark of a configuration is dropped",
        "imager/support/inputs.py",
        '"utf-8" if exact else "utf-8-sig"',
        '"utf-8-sig"',
        "tests/unit/test_extensions.py::test_the_bytes_of_a_configuration_are_kept",
    ),
    Mutant(
        "the name of an image comes before a path that exists",
        "imager/oci/location.py",
        "if not colon or path.exists() or not _is_image(Path(place)):",
        "if not colon or not _is_image(Path(place)):",
        f"{_IMAGES}::test_one_of_several_images_of_a_layout",
    ),
    Mutant(
        "Talos's registry is asked for as often as one that the user has named",
        "imager/app/base_installer.py",
        "retries=min(patience.retries, _RETRIES)",
        "retries=patience.retries",
        "tests/oracle/test_installer.py::test_talos_s_registry_out_of_reach_is_reported_soon",
    ),
)
