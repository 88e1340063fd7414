"""Document the exit codes, environment variables and files of all commands.

The manual page imager(1) and the reference in docs/ are generated from this module.
"""

from __future__ import annotations

from imager.cli.help import Item, Section

EXIT_CODES = Section(
    "Exit status",
    (
        Item("0", "Success."),
        Item(
            "1",
            "An answer, not an error: the caches of `cache-diff` differ, or `node doctor` found "
            "a problem.",
        ),
        Item("2", "Invalid input: options, a profile, a list, a file, a damaged cache."),
        Item("3", "Valid input that is not supported."),
        Item(
            "4",
            "The machine: no permission, no space, a folder that cannot be made. A missing "
            "permission is always 4: for an input, an output, a socket or a device.",
        ),
        Item("5", "An external tool, a mirror or a registry failed."),
        Item("6", "Reading or writing failed part-way."),
        Item("70", "A bug in `imager`. Include the lines before the error in a bug report."),
        Item(
            "129, 130, 143",
            "The terminal was closed (SIGHUP), the run was interrupted (SIGINT) or terminated "
            "(SIGTERM). `cache-serve` and `node run` do not exit on SIGHUP: they look for changes "
            "at once.",
        ),
        Item("141", "The reader of standard output closed it, as in a pipe to head(1)."),
    ),
)

ENVIRONMENT = Section(
    "Environment",
    (
        Item(
            "IMAGER_ASSETS",
            "Folder of boot assets: searched first, and filled by `assets fetch`.",
        ),
        Item("IMAGER_DEBIAN_MIRROR", "Debian mirror of `assets fetch`; see --mirror."),
        Item("IMAGER_KEY_PASSPHRASE", "Passphrase of private keys, both new and existing ones."),
        Item(
            "IMAGER_REGISTRY_AUTH",
            "Logins for registries, separated by blanks; see --registry-auth.",
        ),
        Item(
            "DOCKER_CONFIG, REGISTRY_AUTH_FILE, XDG_RUNTIME_DIR",
            "Where `docker login` and `podman login` keep credentials.",
        ),
        Item("SSL_CERT_FILE", "CA certificates to trust instead of the system's."),
        Item("HTTP_PROXY, HTTPS_PROXY, NO_PROXY", "Proxies for registries."),
        Item(
            "SOURCE_DATE_EPOCH",
            "The time in outputs, in seconds since 1970. Default: a fixed time, never the clock.",
        ),
        Item("TMPDIR", "An existing folder for scratch files. Default: /tmp."),
        Item("XDG_CACHE_HOME", "The user's cache. Default: ~/.cache."),
        Item("NO_COLOR, FORCE_COLOR", "Never or always print in color; NO_COLOR wins."),
        Item("CI, TERM", "With CI set or TERM=dumb, progress is printed in plain lines."),
        Item("COLUMNS", "The width of the terminal, for help and progress."),
    ),
)

FILES = Section(
    "Files",
    (
        Item(
            "/usr/install/ARCH",
            "Boot assets in a container image that is made for building, such as Talos's imager.",
        ),
        Item(
            "~/.cache/imager/assets/ARCH",
            "Boot assets of `assets fetch`. Its file `sources.json` records the packages that "
            "they were made of. Those of `--flavor node` are in `assets/node/ARCH`.",
        ),
        Item(
            "~/.cache/imager/packages",
            "Downloads of `assets fetch`: Debian packages and Python wheels by their SHA-256, and "
            "the part of the node's root file system that is packed once. `assets clean` removes "
            "them.",
        ),
        Item("/secureboot", "Keys for SecureBoot; `--secureboot-dir` names another folder."),
        Item("./_out, /out", "Outputs: /out if it exists."),
        Item(
            ".NAME.*.partial",
            "An unfinished output beside its final path, locked by its writer. The next run "
            "removes or resumes that of a killed run.",
        ),
        Item(
            "TMPDIR/.imager-UID.*.partial",
            "The scratch folder of a run, locked in the same way. The user's next run removes "
            "those of killed runs.",
        ),
        Item("/run/imager/image-cache.json", "The status that `node run` writes."),
    ),
)
