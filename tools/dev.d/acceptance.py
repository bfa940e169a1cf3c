#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""acceptance.py -- the rows of docs/acceptance.md, shown by live tests.

A live test claims rows in a comment, and shows them in its TAP lines:

    # rows: DS-01 DS-02
    ok 1 - DS-01 create, VM running

A row passes when every test that claims it has shown it, nothing that names
it failed, and the test itself ended well.  A row that was skipped, or that no
test claims, is missing.
"""
import os
import re
import sys
import tempfile

sys.dont_write_bytecode = True
import tap  # noqa: E402

ROW = r"[A-Z]{2}-[A-Z]?\d+"
LEADING_ROWS = re.compile(r"^(?:%s[\s,]*)+" % ROW)
DEFAULT_SECONDS = 600


def table_rows(path):
    with open(path, encoding="utf-8") as file:
        return re.findall(r"^\| (%s) \|" % ROW, file.read(), re.MULTILINE)


class LiveTest:
    """A script of tests/live, and what it says about itself."""

    def __init__(self, path):
        self.path = path
        self.name = os.path.basename(path)[:-len(".test")]
        with open(path, encoding="utf-8") as file:
            text = file.read()
        claims = re.findall(r"^# rows: (.*)$", text, re.MULTILINE)
        self.rows = re.findall(ROW, " ".join(claims))
        limit = re.search(r"^# seconds: (\d+)$", text, re.MULTILINE)
        self.seconds = int(limit.group(1)) if limit else DEFAULT_SECONDS
        self.sanitized = re.search(r"^# sanitized: yes$", text,
                                   re.MULTILINE) is not None


def live_tests(root):
    folder = os.path.join(root, "tests", "live")
    if not os.path.isdir(folder):
        return []
    return [LiveTest(os.path.join(folder, name))
            for name in sorted(os.listdir(folder)) if name.endswith(".test")]


def rows_of(result):
    """The rows that a TAP line starts with."""
    text = result.name.split(": ", 1)[-1]
    leading = LEADING_ROWS.match(text)
    return re.findall(ROW, leading.group(0)) if leading else []


def judge(row, claimants, outcomes):
    """(verdict, seconds, why) of a row."""
    seconds = 0.0
    verdict = "pass"
    if not claimants:
        return "missing", 0.0, "no live test claims it"
    for test in claimants:
        results = outcomes[test.name]
        shown = [r for r in results if row in rows_of(r)]
        broken = [r for r in results if r.verdict == "fail" and not rows_of(r)]
        seconds += sum(r.seconds for r in shown)
        bad = [r for r in shown if r.verdict == "fail"] + broken
        if bad:
            return "fail", seconds, "%s %s" % (bad[0].name, bad[0].reason)
        skipped = [r for r in results if r.verdict == "skip" and
                   (r in shown or not rows_of(r))]
        if skipped:
            verdict, why = "missing", "skipped: " + skipped[0].reason
        elif not shown:
            return "fail", seconds, "%s claims it, but shows nothing" % \
                test.name
    return verdict, seconds, why if verdict == "missing" else ""


def accept(root, asked):
    known = table_rows(os.path.join(root, "docs", "acceptance.md"))
    unknown = [row for row in asked if row not in known]
    if unknown:
        print("acceptance: no such row: " + " ".join(unknown),
              file=sys.stderr)
        return 2
    rows = [row for row in known if not asked or row in asked]
    tests = [t for t in live_tests(root) if set(t.rows) & set(rows)]
    logs = os.environ.get("VARVE_LOGS") or tempfile.mkdtemp()
    outcomes = {}
    for test in tests:
        print("running %s" % test.name, file=sys.stderr)
        outcomes[test.name] = tap.run_tap(
            "live", test.name, os.path.join(logs, test.name + ".log"),
            test.seconds, ["bash", test.path])
    tally = {"pass": 0, "fail": 0, "missing": 0}
    for row in rows:
        claimants = [test for test in tests if row in test.rows]
        verdict, seconds, why = judge(row, claimants, outcomes)
        tally[verdict] += 1
        print("%s %s  %.1f" % (row, verdict, seconds))
        if why and claimants:
            print("  %s: %s" % (row, why), file=sys.stderr)
    print("%d pass, %d fail, %d missing" %
          (tally["pass"], tally["fail"], tally["missing"]))
    return 0 if tally["pass"] == len(rows) else 1


def main(arguments):
    """acceptance.py ROOT [ROW...], or ROOT --list: the tests and limits."""
    root = arguments[0]
    if arguments[1:] == ["--list"]:
        for test in live_tests(root):
            print(test.name, test.seconds,
                  "sanitized" if test.sanitized else "plain")
        return 0
    return accept(root, [row.upper() for row in arguments[1:]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
