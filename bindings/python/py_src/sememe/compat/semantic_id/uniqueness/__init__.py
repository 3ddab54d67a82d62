"""One ID an item."""
