"""What the tests of pages in a real browser share."""

from __future__ import annotations

import time


def until(page, expression: str, seconds: float = 30) -> None:
    """Wait until the expression is true.

    Playwright's own `wait_for_function` evaluates it by `eval` from the second try on, which the page forbids.
    """
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"never true: {expression}"
        page.wait_for_timeout(20)
