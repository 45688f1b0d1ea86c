"""``python -m hftrainer``: the same as the ``hftrainer`` command."""

import sys

from hftrainer.cli import main

if __name__ == "__main__":
    sys.exit(main())
