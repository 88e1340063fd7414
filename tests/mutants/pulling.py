"""Breaks of how blobs come: to their places, through the layer cache, after a run that ended."""

from __future__ import annotations

from tests.mutants.definitions import Mutant


def _mutant(what: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(what, f"imager/{file}", old, new, tuple(f"tests/unit/{test}" for test in tests))


_JOURNAL = "test_imagecache_journal.py"
_TRANSFER = "test_imagecache_transfer.py"
_LAYERS = "test_imagecache_layercache.py"
_CONSTRUCTION = "test_imagecache_construction.py"
_RESUMABLE = "test_workspace_resumable.py"
_FLUSHER = "test_flusher.py"
_PULL = "test_imagecache_pull.py"

PULLING = (
    # The journal, and blobs at their places.
    _mutant(
        "counters are in the order of a list",
        "imagecache/journal.py",
        "enumerate(sorted(digests))",
        "enumerate(digests)",
        _JOURNAL,
    ),
    _mutant(
        "a counter that was cut off is read",
        "imagecache/journal.py",
        "return int(_COUNTER.unpack(data)[0]) if len(data) == _COUNTER.size else 0",
        'return int.from_bytes(data, "little") or 1',
        _JOURNAL,
    ),
    _mutant(
        "bytes are taken down before they are written",
        "imagecache/transfer.py",
        "        self._sink.write(data)\n        self._count",
        "        self._note(self._count + len(data), 0)\n"
        "        self._sink.write(data)\n        self._count",
        f"{_TRANSFER}::test_the_journal_is_never_ahead_of_the_bytes",
    ),
    _mutant(
        "what is missing comes to the beginning of a place",
        "imagecache/transfer.py",
        "FileSink(descriptor, place.offset + known, progress)",
        "FileSink(descriptor, place.offset, progress)",
        f"{_TRANSFER}::test_a_later_run_goes_on_where_the_first_one_stopped",
    ),
    _mutant(
        "what an earlier run has left is not begun anew",
        "imagecache/transfer.py",
        "                if not known:\n                    raise\n",
        "                raise\n",
        f"{_TRANSFER}::test_a_journal_that_tells_too_much_is_found_out",
    ),
    _mutant(
        "wrong bytes stay in the journal",
        "imagecache/transfer.py",
        "self.journal.record(digest, 0)",
        "pass",
        f"{_TRANSFER}::test_wrong_bytes_are_not_taken_down",
    ),
    _mutant(
        "what one blob lacks stops the others",
        "imagecache/transfer.py",
        "OF_ONE_BLOB = (InputError, UnsupportedError, WrongBytesError)",
        "OF_ONE_BLOB = ()",
        f"{_TRANSFER}::test_what_one_blob_lacks_does_not_keep_the_others",
    ),
    # The layer cache.
    _mutant(
        "the size of a file in the layer cache is not compared",
        "imagecache/layercache.py",
        "if status.st_size == blob.size and status.st_mtime_ns == stamp:",
        "if status.st_mtime_ns == stamp:",
        _LAYERS,
    ),
    _mutant(
        "the time of a file in the layer cache is not compared",
        "imagecache/layercache.py",
        "if status.st_size == blob.size and status.st_mtime_ns == stamp:",
        "if status.st_size == blob.size:",
        _LAYERS,
    ),
    _mutant(
        "a damaged file of the layer cache is used",
        "imagecache/layercache.py",
        "path.unlink(missing_ok=True)\n            return False",
        "return True",
        _LAYERS,
    ),
    _mutant(
        "a file with more than the blob becomes the blob's",
        "imagecache/layercache.py",
        "if place.offset or place.path.stat().st_size != place.source.blob.size:",
        "if place.offset:",
        f"{_LAYERS}::test_a_place_in_a_larger_file_gets_a_copy",
    ),
    _mutant(
        "a blob that another run fetches is fetched",
        "imagecache/layercache.py",
        "while not _lock(descriptor):",
        "while _lock(descriptor) is None:",
        f"{_LAYERS}::test_a_blob_that_another_run_fetches_is_waited_for",
    ),
    _mutant(
        "what another run fetched is fetched again",
        "imagecache/layercache.py",
        "_Partial(path, descriptor) if same else None",
        "_Partial(path, descriptor)",
        f"{_LAYERS}::test_what_another_run_fetched_is_taken",
    ),
    # What a run leaves, and who takes it up.
    _mutant(
        "what came is kept on a full disk",
        "imagecache/construction.py",
        "isinstance(error, HostError | OutputError)",
        "isinstance(error, OutputError)",
        _CONSTRUCTION,
    ),
    _mutant(
        "space is asked for what is there already",
        "imagecache/construction.py",
        "plan.packing.needed - there)",
        "plan.packing.needed)",
        _CONSTRUCTION,
    ),
    _mutant(
        "a few bytes are kept",
        "imagecache/construction.py",
        "if come < _WORTH_KEEPING or ",
        "if ",
        "test_imagecache_create.py::test_an_image_source_that_fails_leaves_nothing",
    ),
    _mutant(
        "another plan goes on with files of other sizes",
        "imagecache/creation.py",
        'f"{place.path} {place.offset} {place.length}\\n"',
        'f"{place.path} {place.offset}\\n"',
        _CONSTRUCTION,
    ),
    _mutant(
        "the folder of a run that runs is taken",
        "workspace.py",
        "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n        here =",
        "here =",
        _RESUMABLE,
    ),
    _mutant(
        "the folder of another plan is taken",
        "workspace.py",
        'path.with_name(f".{path.name}.{key}.partial")',
        'path.with_name(f".{path.name}.{len(key) > 0}.partial")',
        _RESUMABLE,
    ),
    _mutant(
        "a link is followed to where a run went on",
        "workspace.py",
        "temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC",
        "temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC",
        _RESUMABLE,
    ),
    # Flushes.
    _mutant(
        "a flush that failed is forgotten by the next one",
        "flusher.py",
        "            self.wait()\n            files, self._files",
        "            files, self._files",
        _FLUSHER,
    ),
    _mutant(
        "the last flush is not looked at",
        "flusher.py",
        "yield flusher\n            flusher.wait()",
        "yield flusher",
        _FLUSHER,
    ),
    _mutant(
        "files without a flush stay open",
        "flusher.py",
        "        finally:\n            flusher.close()",
        "        finally:\n            flusher.wait()",
        f"{_FLUSHER}::test_no_descriptor_stays_open",
    ),
    # Caches in registries.
    _mutant(
        "a pulled cache may lack the machine's images",
        "imagecache/pull.py",
        "    cache.require_arch(arch)\n",
        "",
        _PULL,
    ),
    _mutant(
        "the platforms of a pulled cache are not those of its index",
        "imagecache/pull.py",
        "entries = platforms_of(root.document)",
        "pass",
        _PULL,
    ),
    _mutant(
        "a layer is fetched without asking for space",
        "imagecache/pull.py",
        "if not self.layer_cache.has(layer):",
        "if self.layer_cache.has(layer):",
        _PULL,
    ),
)
