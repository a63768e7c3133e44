"""``python -m basecast``."""

import sys

from basecast.cli.main import main

sys.exit(main())
