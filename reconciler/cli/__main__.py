"""`python -m reconciler.cli`: what `holdfast` does, by the interpreter that runs it."""

import sys

from reconciler.cli import main

if __name__ == "__main__":
    sys.exit(main())
