"""`python -m culvert.rest`."""

import sys

from culvert.rest.main import main

sys.exit(main())
