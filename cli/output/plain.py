"""Names of files and what files say, as they may stand on a terminal: nothing of them moves the cursor or ends a line.

Raw bytes are for programs: `--json`, `-0`, a pipe.
"""

import re

# Control characters, the ends of lines of Unicode, and what turns the direction of the writing around it.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def line(text: str) -> str:
    """A name, a caption, a message, with its control characters written out: it stays on its line."""
    return _CONTROL.sub(_written, text)


def lines(text: str) -> str:
    """`line` for a text whose own lines are kept, and its tabs."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in "\n\t" else _written(found), text)


def _written(found: re.Match[str]) -> str:
    letter = found[0]
    return _NAMED.get(letter) or (f"\\x{ord(letter):02x}" if ord(letter) < 256 else f"\\u{ord(letter):04x}")
