"""``python -m luksmeta``."""

from luksmeta.cli import main

if __name__ == "__main__":
    main()
