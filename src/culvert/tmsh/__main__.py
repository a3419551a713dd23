"""`python -m culvert.tmsh`."""

import sys

from culvert.tmsh.main import main

sys.exit(main())
