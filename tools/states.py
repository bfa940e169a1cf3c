# SPDX-License-Identifier: Apache-2.0
"""Draw a state machine from its table in the code.

The page is docs/internals/vm-snapshot-states.md, the table
src/engine/vm_snapshot_states.def; check-docs compares them.
"""
import re

TABLE = "src/engine/vm_snapshot_states.def"
PAGE = "docs/internals/vm-snapshot-states.md"
BEGIN = "<!-- drawn by tools/draw-states from %s -->\n" % TABLE
END = "<!-- end -->\n"


def event_name(constant):
    """CREATE_REQUESTED is shown as CreateRequested."""
    return "".join(word.capitalize() for word in constant.split("_"))


def draw(text):
    """The generated part of the page, from the text of the table."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    states = re.findall(r"\bSTATE\((\w+), (\w+),\s*\"([^\"]*)\"\)", text)
    moves = re.findall(
        r"\bTRANSITION\((\w+), (\w+), (\w+),\s*(\w+)\)", text)
    moves = [(f, event_name(e), t, b) for f, e, t, b in moves]
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> " + states[0][0]]
    lines += ["    %s --> %s : %s" % (f, t, e) for f, e, t, _ in moves]
    lines += ["    %s --> [*]" % name for name, _, _ in states
              if not any(name == f for f, _, _, _ in moves)]
    lines += ["```", "", "| state | | meaning |", "|---|---|---|"]
    lines += ["| `%s` | %s | %s |" % (n, k.lower(), m) for n, k, m in states]
    lines += ["", "| from | event | to | by |", "|---|---|---|---|"]
    lines += ["| %s | %s | %s | `%s` |" % (f, e, t, b)
              for f, e, t, b in moves]
    return "\n".join(lines) + "\n"


def replace(page, drawn):
    """The page with its generated part replaced; None without the marks."""
    begin, end = page.find(BEGIN), page.find(END)
    if begin < 0 or end < begin:
        return None
    return page[:begin + len(BEGIN)] + drawn + page[end:]
