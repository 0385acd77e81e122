"""The scripts inside the page: Plotly's and DataTables', from their Python packages."""

from __future__ import annotations

import base64
import gzip
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from ...errors import BenchmarkError

_FILES = {
    "plotly": ("plotly", "package_data/plotly.min.js"),
    "datatables": ("itables", "html/dt_bundle.js"),
}


class MissingLibraryError(BenchmarkError):
    """A library that the page needs is not installed."""


@lru_cache(maxsize=1)
def packed_libraries() -> dict[str, str]:
    """Each library's script, compressed and in base64: the page unpacks them, and has 2 MB instead of 5.

    Raises:
        MissingLibraryError: if a package is not installed, or has its script elsewhere.
    """
    return {name: _packed(*place) for name, place in _FILES.items()}


def _packed(package: str, file: str) -> str:
    # Found without an import: itables takes seconds to import, because it imports every data frame library.
    spec = find_spec(package)
    places = [Path(place) / file for place in (spec.submodule_search_locations or ())] if spec else []
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise MissingLibraryError(f"the HTML page needs {file} of {package}; pip install -U 'foad-plugins[bench]'")
    # Without a time stamp, so that equal records give equal bytes.
    return base64.b64encode(gzip.compress(found.read_bytes(), mtime=0)).decode()
