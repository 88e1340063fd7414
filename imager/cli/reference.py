"""What all commands share beside their options: exit codes, environment, folders.

The manual page imager(1) is made of it, and docs/reference.md must have all of it.
"""

from __future__ import annotations

from imager.cli.help import Item, Section

EXIT_CODES = Section(
    "Exit status",
    (
        Item("0", "Done."),
        Item(
            "1",
            "An answer, not an error: the caches of cache-diff differ, or node doctor found "
            "something wrong.",
        ),
        Item("2", "Wrong input: options, a profile, a list, a file, a damaged cache."),
        Item("3", "Understood, but not supported."),
        Item("4", "The machine: no permission, no space, a folder that cannot be made."),
        Item("5", "An external tool, a mirror or a registry failed."),
        Item("6", "Reading or writing failed half-way."),
        Item("70", "A bug in imager."),
        Item("129, 130, 143", "The terminal was closed (SIGHUP), interrupted, terminated."),
        Item("141", "The reader of the output has closed it, as in a pipe to head(1)."),
    ),
)

ENVIRONMENT = Section(
    "Environment",
    (
        Item("IMAGER_ASSETS", "Folder of boot assets: searched first, and filled by assets fetch."),
        Item("IMAGER_DEBIAN_MIRROR", "Debian mirror of assets fetch; see --mirror."),
        Item("IMAGER_KEY_PASSPHRASE", "Passphrase of private keys, made or used."),
        Item(
            "IMAGER_REGISTRY_AUTH",
            "Logins for registries, separated by blanks; see --registry-auth.",
        ),
        Item(
            "DOCKER_CONFIG, REGISTRY_AUTH_FILE, XDG_RUNTIME_DIR",
            "Where docker login and podman login keep credentials.",
        ),
        Item("HTTP_PROXY, HTTPS_PROXY, NO_PROXY", "Proxies for registries."),
        Item("SOURCE_DATE_EPOCH", "The time in outputs, in seconds since 1970."),
        Item("TMPDIR", "Where scratch folders are made; a folder that exists. Default: /tmp."),
        Item("XDG_CACHE_HOME", "The user's cache; default: ~/.cache."),
        Item("NO_COLOR, FORCE_COLOR", "Never or always print in color; NO_COLOR wins."),
        Item("CI, TERM", "With CI set or TERM=dumb, progress is printed in plain lines."),
        Item("COLUMNS", "The width of the terminal, for help and progress."),
    ),
)

FILES = Section(
    "Files",
    (
        Item("/usr/install/ARCH", "Boot assets of a container image made for building."),
        Item("~/.cache/imager/assets/ARCH", "Boot assets that assets fetch has made."),
        Item(
            "~/.cache/imager/packages",
            "Packages that assets fetch has downloaded; assets clean removes them.",
        ),
        Item("/secureboot", "Keys for SecureBoot, unless --secureboot-dir names a folder."),
        Item("./_out, /out", "Outputs: /out if it exists."),
        Item(
            ".NAME.*.partial",
            "An output that is being made, beside its place; the next run removes it if its "
            "writer was killed, or goes on with it.",
        ),
        Item(
            "TMPDIR/.imager-UID.*.partial",
            "The scratch folder of a run; the next run of the user removes it if its run was "
            "killed.",
        ),
        Item("/run/imager/image-cache.json", "The status that node run keeps."),
    ),
)
