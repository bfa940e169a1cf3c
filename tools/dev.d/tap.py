#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tap.py -- run tests that speak TAP, and count results one by one.

    tap.py run STAGE NAME LOG SECONDS COMMAND...   run one program
    tap.py testlog STAGE testlog.json              read what `meson test` ran
    tap.py counts LOG...                           sum up "# count NAME N"
    tap.py close RESULTS                           say the end, set the status

`run` and `testlog` print a line for each result:

    pass|fail|skip <tab> seconds <tab> stage <tab> name <tab> reason

A program whose status, plan or time is wrong fails once more than its lines
say, so that a crash after the last "ok" is never counted as success.
"""
import collections
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

TEST = re.compile(r"^(not )?ok\b\s*(\d+)?\s*(?:-\s*)?(.*?)"
                  r"(?:\s*(?<!\\)#\s*(SKIP)\S*\s*(.*))?$", re.IGNORECASE)
PLAN = re.compile(r"^1\.\.(\d+)(?:\s*#\s*SKIP\S*\s*(.*))?", re.IGNORECASE)
COUNT = re.compile(r"^# count (\S+) (\d+)$")
GRACE_SECONDS = 30

Result = collections.namedtuple("Result", "verdict seconds stage name reason")


class Reader:
    """Turns lines of TAP, as they come, into results."""

    def __init__(self, stage, name, clock=None):
        self.stage = stage
        self.name = name
        self.clock = clock
        self.last = clock() if clock else 0.0
        self.results = []
        self.plan = None
        self.bailed = None
        self.notes = []

    def add(self, verdict, text, reason=""):
        now = self.clock() if self.clock else 0.0
        name = "%s: %s" % (self.name, text) if text else self.name
        self.results.append(Result(verdict, now - self.last, self.stage, name,
                                   reason))
        self.last = now

    def line(self, line):
        line = line.rstrip("\n")
        test = TEST.match(line)
        plan = PLAN.match(line)
        if test:
            text = test.group(3) or "test %d" % (len(self.results) + 1)
            if test.group(4):
                self.add("skip", text, test.group(5))
            elif test.group(1):
                self.add("fail", text, " | ".join(self.notes[-3:]))
            else:
                self.add("pass", text)
            self.notes = []
        elif plan:
            self.plan = int(plan.group(1))
            if self.plan == 0:
                self.add("skip", "", plan.group(2) or "no reason given")
        elif line.startswith("Bail out!"):
            self.bailed = line
        elif line.startswith("#"):
            self.notes.append(line[1:].strip())

    def end(self, status, late):
        """What the program itself, not a line of it, did wrong."""
        tests = [r for r in self.results if r.name != self.name]
        failed = any(r.verdict == "fail" for r in self.results)
        if late:
            self.add("fail", "ended in time", "killed after %d s" % late)
        elif self.bailed:
            self.add("fail", "went on to its end", self.bailed)
        elif status != 0 and not failed:
            self.add("fail", "ended well", "status %d" % status)
        elif self.plan is None and tests:
            self.add("fail", "has a plan", "no 1..N line")
        elif self.plan is not None and self.plan != len(tests):
            self.add("fail", "kept its plan", "planned %d, ran %d" %
                     (self.plan, len(tests)))
        elif not self.results:
            self.add("pass" if status == 0 else "fail", "")
        return self.results


def run_tap(stage, name, log_path, limit, command):
    """Run a program and read it; its whole process group ends with it."""
    reader = Reader(stage, name, time.monotonic)
    late = []
    with open(log_path, "w", encoding="utf-8") as log, subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace",
            start_new_session=True) as process:

        def stop(number):
            late.append(limit)
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                pass

        timers = [threading.Timer(limit, stop, [signal.SIGTERM]),
                  threading.Timer(limit + GRACE_SECONDS, stop,
                                  [signal.SIGKILL])]
        for timer in timers:
            timer.start()
        try:
            for line in process.stdout:
                log.write(line)
                log.flush()
                reader.line(line)
            status = process.wait()
        finally:
            for timer in timers:
                timer.cancel()
    return reader.end(status, late[0] if late else 0)


def read_testlog(stage, path):
    """The tests of meson's testlog.json; those that speak TAP in detail."""
    results = []
    with open(path, encoding="utf-8") as file:
        entries = [json.loads(line) for line in file if line.strip()]
    for entry in entries:
        name = entry["name"].split(" / ")[-1]
        reader = Reader(stage, name)
        output = entry.get("stdout") or ""
        for line in output.splitlines():
            reader.line(line)
        seconds = entry.get("duration", 0.0)
        verdict = entry["result"]
        if verdict in ("OK", "EXPECTEDFAIL"):
            status = 0
        elif verdict == "SKIP":
            status = 0
            if not reader.results:
                reader.add("skip", "", "it said so")
        else:
            status = entry.get("returncode") or 1
        late = seconds if verdict == "TIMEOUT" else 0
        found = reader.end(status, late)
        share = seconds / len(found)
        results += [r._replace(seconds=share) for r in found]
    return results


def print_results(results):
    for result in results:
        fields = [result.verdict, "%.2f" % result.seconds, result.stage,
                  result.name, result.reason]
        print("\t".join(re.sub(r"\s+", " ", field) for field in fields))


def sum_counts(paths):
    """Add up what tests counted: "# count fault-points 312"."""
    counts = collections.Counter()
    for path in paths:
        if not os.path.exists(path):
            continue
        with open(path, encoding="utf-8", errors="replace") as file:
            if path.endswith(".json"):
                lines = [text for entry in file if entry.strip() for text in
                         (json.loads(entry).get("stdout") or "").splitlines()]
            else:
                lines = file.read().splitlines()
        for line in lines:
            match = COUNT.match(line)
            if match:
                counts[match.group(1)] += int(match.group(2))
    for name, number in sorted(counts.items()):
        print("%s %d" % (name, number))


def close(path):
    """Why things were skipped, what failed, and the last line."""
    with open(path, encoding="utf-8") as file:
        results = [Result(*line.rstrip("\n").split("\t")) for line in file]
    for verdict in ("skip", "fail"):
        for result in results:
            if result.verdict == verdict:
                print("%s: %s: %s%s" % (
                    {"skip": "skipped", "fail": "FAILED"}[verdict],
                    result.stage, result.name,
                    ": " + result.reason if result.reason else ""))
    tally = collections.Counter(result.verdict for result in results)
    print("%d passed, %d failed, %d skipped" %
          (tally["pass"], tally["fail"], tally["skip"]))
    return 0 if tally["fail"] == 0 and tally["pass"] > 0 else 1


def main(arguments):
    verb = arguments[0] if arguments else ""
    if verb == "run" and len(arguments) > 5:
        stage, name, log_path, limit = arguments[1:5]
        results = run_tap(stage, name, log_path, int(limit), arguments[5:])
        print_results(results)
        return 1 if any(r.verdict == "fail" for r in results) else 0
    if verb == "testlog" and len(arguments) == 3:
        print_results(read_testlog(arguments[1], arguments[2]))
        return 0
    if verb == "counts":
        sum_counts(arguments[1:])
        return 0
    if verb == "close" and len(arguments) == 2:
        return close(arguments[1])
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
