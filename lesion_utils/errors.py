"""The one exception that is meant for the person who runs the study, and what its messages share."""

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Input that cannot be used: says what is wrong, where, what was expected, and the fix."""


def first_ten(items) -> str:
    """The first ten of ``items`` as one line, with the count of those left out."""
    items = [str(item) for item in items]
    more = f" … and {len(items) - 10} more" if len(items) > 10 else ""
    return ", ".join(items[:10]) + more


def did_you_mean(word: object, words: Iterable[object]) -> str:
    """`` Did you mean `x`?`` for the nearest of ``words``, or nothing where none is near."""
    nearest = difflib.get_close_matches(str(word), list(map(str, words)), n=1, cutoff=0.6)
    return f" Did you mean `{nearest[0]}`?" if nearest else ""
