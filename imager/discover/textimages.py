"""Find texts that look like images in scripts, Dockerfiles, settings, templates and prose."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice

from imager.discover.likeness import (
    COMMENT,
    MOST_IN_TEXT,
    Likeness,
    bare,
    is_below_organization,
    is_complete,
    is_in_known_registry,
    is_likely,
    is_no_image,
    is_usual_tag,
    parsed,
)
from imager.discover.officialimages import is_official

_VARIABLES = ("{{", "${", "$(", "[[", "<%", "%(")
_WORTH_A_LOOK = re.compile(r"[:/]|image|pull|run|create|FROM", re.IGNORECASE)
# Delimiters of a reference in text, so that it is not part of a path, variable or longer word.
_TOKEN = re.compile(r"""[^\s,;|"'`=()\[\]<>\\]+""")
_KEY = r"""["']?(?:[\w.-]*[_.-])?(?:image|IMAGE)["']?"""
# A line of YAML, JSON, properties or a script.
_IMAGE_LINE = re.compile(
    rf"""\s*(?:-\s+)?(?:export\s+)?{_KEY}(?:\s*:\s+|\s*=\s*)["']?([^\s"'#,{{}}]+)["']?,?\s*"""
)
_WITHIN_LINE = re.compile(
    # An item of a flow mapping, or an option.
    r"""(?:[{,]\s*["']?image["']?\s*:\s*|(?<!\S)--?(?:[\w-]*-)?image[=\s]\s*)["']?([^\s"',{}\[\]]+)"""
)
# A template line whose value is known only after rendering.
_TEMPLATE_LINE = re.compile(rf"""\s*(?:-\s+)?{_KEY}\s*:\s+(\S.*)""")
_DEFAULT = re.compile(r"""["'`]([^\s"'`]+)["'`]""")
_VARIABLE = r"(?:\$\{?\w+\}?|\$\(\w+\)|\{\{[^{}]*\}\})"
# A variable in place of the registry, or after a known registry.
_OF_VARIABLE = re.compile(rf"(?<![\w/:.-]){_VARIABLE}(?:/[\w.-]+)+:([\w.-]+)")
_IN_REGISTRY = re.compile(
    rf"(?<![\w/:.@-])((?:[\w-]+\.)+[\w-]+(?::\d+)?/[\w./-]*)[:@]?{_VARIABLE}\S*"
)
_PROGRAMS = "(?:docker|podman|nerdctl|crictl|ctr|buildah)"
_PROGRAM = re.compile(rf"(?:/\S*/)?{_PROGRAMS}")
_COMMAND = re.compile(rf"\b{_PROGRAMS}\s[^#|;&]{{0,200}}?\b(pull|run|create|from)\s+([^#|;&]*)")
_FROM = re.compile(r"\s*FROM\s+(?:--platform=\S+\s+)?(\S+)(?:\s+[Aa][Ss]\s+(\S+))?\s*")
_DOCKERFILE = re.compile(r"(?:[ \t]*(?:#.*|ARG\s.*)?\n)*[ \t]*FROM\s", re.ASCII)


def has_variable(text: str) -> bool:
    """Whether `text` contains a variable of a shell or of a common template language."""
    return any(each in text for each in _VARIABLES)


@lru_cache(maxsize=64)
def within_text(text: str) -> tuple[Likeness, ...]:
    """Return the parts of a longer text that look like images, at most MOST_IN_TEXT of them."""
    return tuple(dict.fromkeys(islice(_within(text), MOST_IN_TEXT)))


def in_command(words: Sequence[object]) -> Iterator[str]:
    """Yield the short image names that a command, given as a list of words, pulls or runs."""
    texts = [word for word in words if isinstance(word, str)]
    if len(texts) == len(words) > 2 and _PROGRAM.fullmatch(texts[0]):
        yield from _in_commands(" ".join(texts))


def _within(text: str) -> Iterator[Likeness]:
    stages = {"scratch"} if _DOCKERFILE.match(text) else None
    for offset, line in enumerate(text.split("\n")):
        if not _WORTH_A_LOOK.search(line):
            continue
        code = COMMENT.sub("", line)
        of_dockerfile = () if stages is None else _of_dockerfile(code, stages)
        for word in (*_in_line(code), *of_dockerfile):
            yield Likeness(bare(word), is_complete(word), offset, "$" in word or has_variable(word))


def _in_line(code: str) -> Iterator[str]:
    match = _IMAGE_LINE.fullmatch(code)
    if match and not is_no_image(match[1]):
        yield match[1]
        return
    rendered = _TEMPLATE_LINE.fullmatch(code)
    if rendered and has_variable(rendered[1]):
        yield rendered[1].rstrip(" ,\r").strip("\"'")
        yield from filter(is_likely, _DEFAULT.findall(rendered[1]))
        return
    yield from _words(code)
    for found in _IN_REGISTRY.finditer(code):
        is_known = is_in_known_registry(f"{found[1].rstrip('/')}/x/x")
        if is_known and is_below_organization(found[0]):
            yield found[0].rstrip("\"'")
    for found in _OF_VARIABLE.finditer(code):
        if is_usual_tag(found[1]) and not found[1].isdecimal():
            yield found[0]


def _words(code: str) -> Iterator[str]:
    for token in _TOKEN.findall(code):
        word = token.rstrip(".:!?}*_").lstrip("{*_")
        if is_likely(word):
            yield word
    yield from (word for word in _WITHIN_LINE.findall(code) if not is_no_image(word))
    yield from _in_commands(code)


def _in_commands(code: str) -> Iterator[str]:
    """Yield the short image names in shell commands, which the other tests miss."""
    for verb, rest in _COMMAND.findall(code):
        arguments = [word.strip("\"'()`") for word in rest.partition(">")[0].split()]
        names = [word for word in arguments if not word.startswith("-")]
        if verb == "pull":
            # The words before it may be the value of an option.
            yield from (word for word in names[-1:] if not is_no_image(word))
        else:
            yield from [word for word in names if is_official(word)][:1]


def _of_dockerfile(code: str, stages: set[str]) -> Iterator[str]:
    """Yield the base image of a Dockerfile line, and record the name of its stage."""
    match = _FROM.fullmatch(code)
    if match is None:
        return
    image, stage = match[1], match[2]
    if image not in stages and (has_variable(image) or "$" in image or parsed(image)):
        yield image
    if stage:
        stages.add(stage)
