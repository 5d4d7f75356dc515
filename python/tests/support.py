"""What the tests share. They run against the library that $TERN_LIBRARY names, or the one that `import tern` finds."""

import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.dirname(HERE)
ROOT = os.path.dirname(PACKAGE)
sys.path.insert(0, PACKAGE)

SKIPPED = 77  # the exit status that ctest takes for "skipped"

PROMPT = "Once upon a time"


def main():
    """Run the calling file's tests; when all of them were skipped, say so to ctest."""
    result = unittest.main(module="__main__", verbosity=2, exit=False).result
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(SKIPPED if result.testsRun and len(result.skipped) == result.testsRun else 0)
