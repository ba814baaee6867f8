"""The harness is run from the repository's root and is not installed: make it importable."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
