"""What schemathesis cannot know: what raw bytes are made of.

OpenAPI has no words for the length of a binary body, nor for what is in one.
"""

import os
import struct

import schemathesis
from hypothesis import strategies as st

RAW = "application/octet-stream"
DIMS = int(os.environ["SEMEME_DIMS"])

values = st.floats(width=32, allow_nan=False, allow_infinity=False)
rows = st.lists(st.lists(values, min_size=DIMS, max_size=DIMS), max_size=5)


def pack(rows):
    return b"".join(struct.pack(f"<{DIMS}f", *row) for row in rows)


schemathesis.openapi.media_type(RAW, rows.map(pack))


@schemathesis.deserializer(RAW)
def codes(context, response):
    content = response.content
    assert len(content) % 4 == 0, f"{len(content)} bytes are no uint32 codes"
    # As the document has it: a text of bytes.
    return content.decode("latin-1")

