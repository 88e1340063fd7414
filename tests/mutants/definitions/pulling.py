"""Breaks of how blobs come: to their places, through the layer cache, after a run that ended."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_JOURNAL = "tests/unit/test_imagecache_journal.py"
_TRANSFER = "tests/unit/test_imagecache_transfer.py"
_LAYERS = "tests/unit/test_imagecache_blobstore.py"
_CONSTRUCTION = "tests/unit/test_imagecache_construction.py"
_RESUMABLE = "tests/unit/test_workspace_resumable.py"
_FLUSHER = "tests/unit/test_flusher.py"
_PULL = "tests/unit/test_imagecache_pull.py"

MUTANTS = (
    # The journal, and blobs at their places.
    Mutant(
        "counters are in the order of a list",
        "imager/cache/journal.py",
        "enumerate(sorted(digests))",
        "enumerate(digests)",
        f"{_JOURNAL}::test_counters_are_found_whatever_the_order",
    ),
    Mutant(
        "a counter that was cut off is read",
        "imager/cache/journal.py",
        "return int(_COUNTER.unpack(data)[0]) if len(data) == _COUNTER.size else 0",
        'return int.from_bytes(data, "little") or 1',
        f"{_JOURNAL}::test_what_is_not_there_is_nothing",
    ),
    Mutant(
        "bytes are taken down before they are written",
        "imager/cache/resume.py",
        "        self._sink.write(data)\n        self._count",
        "        self._note(self._count + len(data), 0)\n"
        "        self._sink.write(data)\n        self._count",
        f"{_TRANSFER}::test_the_journal_is_never_ahead_of_the_bytes",
    ),
    Mutant(
        "what is missing comes to the beginning of a place",
        "imager/cache/resume.py",
        "FileSink(landing.descriptor, landing.offset + known, work)",
        "FileSink(landing.descriptor, landing.offset, work)",
        f"{_TRANSFER}::test_a_later_run_goes_on_where_the_first_one_stopped",
    ),
    Mutant(
        "what an earlier run has left is not begun anew",
        "imager/cache/resume.py",
        "        if not known:\n            raise\n",
        "        raise\n",
        f"{_TRANSFER}::test_a_journal_that_tells_too_much_is_found_out",
    ),
    Mutant(
        "wrong bytes stay in the journal",
        "imager/cache/resume.py",
        "landing.note(0, 0)",
        "pass",
        f"{_TRANSFER}::test_wrong_bytes_are_not_taken_down",
    ),
    Mutant(
        "what one blob lacks stops the others",
        "imager/cache/resume.py",
        "OF_ONE_BLOB = (InputError, UnsupportedError, WrongBytesError)",
        "OF_ONE_BLOB = ()",
        f"{_TRANSFER}::test_what_one_blob_lacks_does_not_keep_the_others",
    ),
    # The layer cache.
    Mutant(
        "the size of a file in the layer cache is not compared",
        "imager/cache/blobstore.py",
        "if status.st_size == blob.size and status.st_mtime_ns == stamp:",
        "if status.st_mtime_ns == stamp:",
        f"{_LAYERS}::test_a_wrong_size_is_seen_whatever_the_time",
    ),
    Mutant(
        "the time of a file in the layer cache is not compared",
        "imager/cache/blobstore.py",
        "if status.st_size == blob.size and status.st_mtime_ns == stamp:",
        "if status.st_size == blob.size:",
        f"{_LAYERS}::test_a_change_to_the_output_is_noticed",
    ),
    Mutant(
        "a damaged file of the layer cache is used",
        "imager/cache/blobstore.py",
        "path.unlink(missing_ok=True)\n            return False",
        "return True",
        f"{_LAYERS}::test_a_damaged_blob_is_replaced",
    ),
    Mutant(
        "a file with more than the blob becomes the blob's",
        "imager/cache/transfer.py",
        "if place.offset or place.path.stat().st_size != place.wanted.blob.size:",
        "if place.offset:",
        f"{_LAYERS}::test_a_place_in_a_larger_file_gets_a_copy",
    ),
    Mutant(
        "a blob that another run fetches is fetched",
        "imager/cache/blobstore.py",
        "while not _lock(descriptor):",
        "while _lock(descriptor) is None:",
        f"{_LAYERS}::test_a_blob_that_another_run_fetches_is_waited_for",
    ),
    Mutant(
        "what another run fetched is fetched again",
        "imager/cache/blobstore.py",
        "return status is not None and os.path.samestat(status, os.fstat(descriptor))",
        "return True",
        f"{_LAYERS}::test_what_another_run_fetched_is_taken",
    ),
    # What a run leaves, and who takes it up.
    Mutant(
        "what came is kept on a full disk",
        "imager/cache/resume.py",
        "isinstance(error, HostError | OutputError)",
        "isinstance(error, OutputError)",
        f"{_CONSTRUCTION}::test_a_disk_that_failed_is_left_empty",
    ),
    Mutant(
        "space is asked for what is there already",
        "imager/cache/staging.py",
        "plan.packing.needed - there)",
        "plan.packing.needed)",
        f"{_CONSTRUCTION}::test_what_is_there_needs_no_more_space",
    ),
    Mutant(
        "a few bytes are kept",
        "imager/cache/resume.py",
        "if size < _WORTH_KEEPING or ",
        "if ",
        "tests/unit/test_imagecache_create.py::test_an_image_source_that_fails_leaves_nothing",
    ),
    Mutant(
        "another plan goes on with files of other sizes",
        "imager/cache/plan.py",
        'f"{place.path} {place.offset} {place.length}\\n"',
        'f"{place.path} {place.offset}\\n"',
        f"{_CONSTRUCTION}::test_the_key_tells_plans_apart",
    ),
    Mutant(
        "the folder of a run that runs is taken",
        "imager/support/partials.py",
        "here = False",
        "here = True",
        f"{_RESUMABLE}::test_the_folder_of_a_run_that_runs_is_left_to_it",
    ),
    Mutant(
        "the folder of another plan is taken",
        "imager/support/partials.py",
        'path.with_name(f".{path.name}.{key}.partial")',
        'path.with_name(f".{path.name}.{len(key) > 0}.partial")',
        f"{_RESUMABLE}::test_another_plan_begins_anew",
    ),
    Mutant(
        "a link is followed to where a run went on",
        "imager/support/partials.py",
        "temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC",
        "temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC",
        f"{_RESUMABLE}::test_a_link_in_its_place_is_not_followed",
    ),
    # Flushes.
    Mutant(
        "a flush that failed is forgotten by the next one",
        "imager/content/writeback.py",
        "            self.wait()\n            files, self._files",
        "            files, self._files",
        f"{_FLUSHER}::test_a_failure_is_told_by_a_later_write",
    ),
    Mutant(
        "the last flush is not looked at",
        "imager/content/writeback.py",
        "yield flusher\n            flusher.wait()",
        "yield flusher",
        f"{_FLUSHER}::test_a_flush_that_fails_is_told",
    ),
    Mutant(
        "files without a flush stay open",
        "imager/content/writeback.py",
        "        finally:\n            flusher.close()",
        "        finally:\n            flusher.wait()",
        f"{_FLUSHER}::test_no_descriptor_stays_open",
    ),
    # Caches in registries.
    Mutant(
        "a pulled cache may lack the machine's images",
        "imager/cache/pull.py",
        "            opened.cache.require_arch(arch)\n",
        "            pass\n",
        f"{_PULL}::test_images_for_other_machines_are_refused",
    ),
    Mutant(
        "the platforms of a pulled cache are not those of its index",
        "imager/cache/pull.py",
        "entries = platforms_of(root.document)",
        "pass",
        f"{_PULL}::test_the_platforms_of_an_index",
    ),
    Mutant(
        "a layer is fetched without asking for space",
        "imager/cache/pull.py",
        "if not store.has(layer):",
        "if store.has(layer):",
        f"{_PULL}::test_space_is_asked_for_before_the_layer",
    ),
    Mutant(
        "a pool that fails waits for what is running",
        "imager/support/workers.py",
        "pool.shutdown(wait=False, cancel_futures=True)",
        "pool.shutdown(wait=True, cancel_futures=True)",
        "tests/unit/test_workers.py::test_a_block_that_fails_drops_what_waits_and_leaves_what_runs",
    ),
    Mutant(
        "a token that is set does not end the work",
        "imager/support/workers.py",
        "or (self._outer is not None and self._outer.is_set)",
        "",
        "tests/unit/test_workers.py::test_an_outer_token_ends_the_work_and_not_the_other_way_round",
    ),
    Mutant(
        "each thread makes what all of them need",
        "imager/support/workers.py",
        "            if key not in self._values:\n",
        "            if key:\n",
        "tests/unit/test_workers.py::test_what_several_threads_need_is_made_once_and_again_after_an_error",
    ),
    Mutant(
        "threads go on when another has failed",
        "imager/support/workers.py",
        "        except BaseException:\n            self.cancel.set()\n",
        "        except BaseException:\n",
        "tests/unit/test_workers.py::test_lasting_errors_are_reported_together_and_others_end_the_work",
    ),
)
