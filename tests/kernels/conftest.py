"""Makes `cases` importable for the kernel tests (pytest's importlib mode adds no folder to the path)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
