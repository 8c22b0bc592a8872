"""The one exception that is meant for the person who runs the study."""


class InputError(Exception):
    """Input that cannot be used: says what is wrong, where, what was expected, and the cure."""


def first_ten(items) -> str:
    """The first ten of ``items`` as one line, with the count of those left out."""
    items = [str(item) for item in items]
    more = f" … and {len(items) - 10} more" if len(items) > 10 else ""
    return ", ".join(items[:10]) + more
