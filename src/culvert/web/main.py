"""culvert-rest as a whole: the web process with the REST API and the GUI."""

import sys
from collections.abc import Sequence

from culvert.rest import main as rest
from culvert.web import rendering
from culvert.web.site import Site


def main(arguments: Sequence[str] | None = None) -> int:
    """As `culvert.rest.main`, with pages."""
    rendering.prepare()
    return rest.main(arguments, lambda door: Site(door).answer)


if __name__ == "__main__":
    sys.exit(main())
