"""``python -m lesion_utils`` is the command ``lesion``."""

from lesion_utils.cli import main

main()
