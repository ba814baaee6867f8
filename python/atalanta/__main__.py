"""`python -m atalanta`: the same as the command `atalanta`."""

import sys

from atalanta.cli import main

if __name__ == "__main__":
    sys.exit(main())
