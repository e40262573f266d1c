"""Text of others (names, prompts, error messages) on its way to a terminal, a table or a file: shown, never obeyed."""

from __future__ import annotations

import re

FORMS = ("terminal", "markdown", "csv")

_MARKDOWN = re.compile(r"[\\`\[\]<>|]|(?<=:)//|(?<=www)\.", re.IGNORECASE)
_FORMULA = ("=", "+", "-", "@")


def safe(text: object, form: str = "terminal") -> str:
    """Return a text as it may stand in a line of this form.

    Whatever the form, characters that cannot be seen become their escapes (`\\x1b`, `\\u202e`, half a surrogate pair as
    `\\ud800`) and line ends become spaces.

    Args:
        form: "terminal"; "markdown", where links, images, HTML, code and table bars are taken for text; "csv", where a
            cell that a spreadsheet would take for a formula begins with an apostrophe.
    """
    line = re.sub(r"[\r\n\t\x0b\x0c\x85\u2028\u2029]+", " ", str(text))
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)
    if form == "markdown":
        return _MARKDOWN.sub(r"\\\g<0>", shown)
    if form == "csv" and shown.lstrip().startswith(_FORMULA):
        return f"'{shown}"
    return shown
