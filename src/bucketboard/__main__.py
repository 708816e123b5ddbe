"""``python -m bucketboard``."""

import sys

from bucketboard.cli.main import main

sys.exit(main())
