"""The original's exceptions."""

from ...errors import SememeError as SemanticIdError
from ...errors import ShapeError as ShapeMismatchError


class NotFittedError(SemanticIdError, RuntimeError):
    """A model that was not fitted yet."""


__all__ = ["NotFittedError", "SemanticIdError", "ShapeMismatchError"]
