"""`python -m culvert.racoonctl`."""

import sys

from culvert.racoonctl.main import main

sys.exit(main())
