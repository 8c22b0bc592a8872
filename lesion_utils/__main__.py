"""``python -m lesion_utils`` is the command ``lesion``."""

from lesion_utils.stopping import STOPPING, end, listen


def main() -> None:
    listen()  # before the imports of the command, which take half a second
    try:
        from lesion_utils.cli import main

        main()
    finally:
        if STOPPING.is_set():
            end()


if __name__ == "__main__":
    main()
