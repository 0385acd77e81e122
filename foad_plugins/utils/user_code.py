"""What the user names as ``package.module:name`` or ``path/to/file.py:name``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import operator
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from .text import did_you_mean

__all__ = ["UserCodeError", "describe_error", "find_callable", "import_place"]

