# SPDX-License-Identifier: Apache-2.0
"""house.py -- what the check-* tools share: the tree, C text, complaints.

A check walks the files of a source tree (the one it stands in, or the one
given by --root), complains with "path:line: what; remedy", and exits 1 when
it complained.  It changes nothing and needs nothing but Python 3.
"""
import argparse
import os
import re
import sys

SKIPPED_FOLDERS = {".git", "__pycache__", "subprojects"}


class House:
    """A source tree and the complaints about it."""

    def __init__(self, description):
        parser = argparse.ArgumentParser(description=description)
        here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        parser.add_argument("--root", default=here,
                            help="the source tree (this one)")
        self.root = os.path.abspath(parser.parse_args().root)
        self.complaints = []

    def files(self, folder="", suffixes=None):
        """Paths below `folder`, relative to the root, sorted."""
        found = []
        for at, folders, names in os.walk(os.path.join(self.root, folder)):
            inside = os.path.relpath(at, self.root)
            folders[:] = [f for f in folders if f not in SKIPPED_FOLDERS and
                          not (inside == "." and f.startswith("build"))]
            for name in names:
                path = os.path.normpath(os.path.join(inside, name))
                if suffixes is None or path.endswith(tuple(suffixes)):
                    found.append(path)
        return sorted(found)

    def folders(self, folder):
        """Folders below `folder` that hold files, and `folder`'s own."""
        return sorted({os.path.dirname(path) for path in self.files(folder)})

    def exists(self, path):
        return os.path.exists(os.path.join(self.root, path))

    def read(self, path):
        full = os.path.join(self.root, path)
        with open(full, encoding="utf-8", errors="replace") as file:
            return file.read()

    def complain(self, path, line, text):
        place = "%s:%d" % (path, line) if line else path
        self.complaints.append("%s: %s" % (place, text))

    def finish(self):
        """Print the complaints; the exit status."""
        for complaint in self.complaints:
            print(complaint)
        name = os.path.basename(sys.argv[0])
        if self.complaints:
            print("%s: %d complaint(s)" % (name, len(self.complaints)))
            return 1
        return 0


C_TOKEN = re.compile(
    r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'",
    re.DOTALL)


def strip_c(text, keep_strings=False):
    """The C text without comments (and strings): same lines, same columns."""

    def blank(match):
        token = match.group(0)
        if token[0] in "\"'":
            if keep_strings:
                return token
            return token[0] + " " * (len(token) - 2) + token[-1]
        return re.sub(r"[^\n]", " ", token)

    return C_TOKEN.sub(blank, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*([<\"])([^>\"]+)[>\"]",
                     re.MULTILINE)


def includes(text):
    """(line, is_system, name) of every #include of a C text."""
    code = strip_c(text, keep_strings=True)
    return [(line_of(code, m.start()), m.group(1) == "<", m.group(2))
            for m in INCLUDE.finditer(code)]
