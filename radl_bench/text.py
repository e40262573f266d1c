"""Text of others (names, prompts, error messages) on its way to a terminal, a table or a file: shown, never obeyed."""

from __future__ import annotations

import re

_BREAKS = re.compile(r"[\r\n\t\x0b\x0c\x85\u2028\u2029]+")
_LINKS = re.compile(r"(?<=\])[(\[:]|(?<=!)\[|(?<=:)//|(?<=\bwww)\.", re.IGNORECASE)
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_FORMULA = ("=", "+", "-", "@")


def safe(text: object, form: str = "terminal") -> str:
    r"""Return a text as it may stand in a line of this form.

    Whatever the form, characters that cannot be seen become their escapes (`\x1b`, `\u202e`, half a surrogate pair as
    `\ud800`) and line ends become spaces.

    Args:
        form: "terminal"; "markdown", where links, images and HTML of the text's own do not work; "csv", where a cell
            that a spreadsheet would take for a formula begins with an apostrophe.
    """
    line = _BREAKS.sub(" ", str(text))
    if not line.isprintable():
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)
    if form == "markdown":
        return _TAG.sub("&lt;", _LINKS.sub(r"\\\g<0>", line))
    if form == "csv" and line.lstrip().startswith(_FORMULA):
        return f"'{line}"
    return line
