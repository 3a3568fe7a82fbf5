"""Types used across the package."""

import os
from typing import IO, TypeAlias, TypeVar

from torch import Tensor

FileLike: TypeAlias = str | os.PathLike[str] | IO[bytes]

Length = TypeVar("Length", int, Tensor)
"""A number of letters or windows: one, or a tensor with one per probe."""
