# SPDX-License-Identifier: Apache-2.0
"""measure.py -- run two programs in turn and compare what they cost.

Single times on a shared machine mean nothing; ratios of runs that follow each
other do.  A round is A then B, the next one B then A; the figure is the
median of the rounds' ratios, told with the smallest and the largest.

Memory that was free for a while is slow to come back on virtual machines, so
the page cache is filled before each run and what is read is read once before.
"""
import os
import re
import statistics
import subprocess
import time

CHUNK = 4 << 20
FREE_MIB = 900
FILLER = 8 << 40    # a hole that is never read twice


class Failed(Exception):
    """A command that was to be measured did not work."""


class Run:
    """One program with what has to be there before and go after."""

    def __init__(self, argv, reads=(), before=None, after=None, stored=None):
        self.argv = [str(word) for word in argv]
        self.reads = reads        # files that it reads: warmed
        self.before = before      # callable
        self.after = after        # callable: removes what it made
        self.stored = stored      # callable: bytes that it has stored


class Sample:
    def __init__(self, wall, usage, stored):
        self.wall = wall
        self.user = usage.ru_utime
        self.cpu = usage.ru_utime + usage.ru_stime
        self.rss = usage.ru_maxrss / 1024
        self.stored = stored


class Ratio:
    """Of one figure of A to that of B, over all rounds."""

    def __init__(self, values):
        self.median = statistics.median(values)
        self.least = min(values)
        self.most = max(values)
        self.count = len(values)

    def __str__(self):
        if self.count == 1:
            return "%.3f" % self.median
        return "%.2f (%.2f-%.2f, n=%d)" % (self.median, self.least, self.most,
                                           self.count)


class Pairs:
    def __init__(self, ours, theirs):
        self.ours = ours
        self.theirs = theirs

    def ratio(self, figure):
        return Ratio([getattr(a, figure) / getattr(b, figure)
                      for a, b in zip(self.ours, self.theirs)])

    def median(self, side, figure):
        return statistics.median(getattr(s, figure)
                                 for s in getattr(self, side))


def free_mib():
    with open("/proc/meminfo", encoding="ascii") as info:
        for line in info:
            if line.startswith("MemFree:"):
                return int(line.split()[1]) // 1024
    return 0


class Bench:
    def __init__(self, folder, tell):
        self.tell = tell
        self.filler = os.path.join(folder, "filler")
        self.at = 0
        self.starts = {}    # program: instructions until it does something
        with open(self.filler, "wb") as file:
            file.truncate(FILLER)

    def fill_cache(self):
        buffer = bytearray(CHUNK)
        file = os.open(self.filler, os.O_RDONLY)
        for _ in range(1500):
            if free_mib() < FREE_MIB:
                break
            for _ in range(8):
                os.preadv(file, [buffer], self.at)
                self.at += CHUNK
        os.close(file)

    @staticmethod
    def warm(paths):
        buffer = bytearray(CHUNK)
        for path in paths:
            with open(path, "rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

    def once(self, run, cold=False):
        if run.before:
            run.before()
        if not cold:
            self.fill_cache()
            self.warm(run.reads)
        start = time.monotonic()
        process = subprocess.Popen(run.argv, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
        message = process.stderr.read()
        process.stderr.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        wall = time.monotonic() - start
        if status:
            raise Failed("%s: %s" % (" ".join(run.argv[:4]),
                                     message.decode()[-300:].strip()))
        sample = Sample(wall, usage, run.stored() if run.stored else 0)
        if run.after:
            run.after()
        return sample

    def pairs(self, name, ours, theirs, rounds):
        found = Pairs([], [])
        for number in range(rounds):
            order = [(ours, found.ours), (theirs, found.theirs)]
            for run, into in order if number % 2 == 0 else order[::-1]:
                into.append(self.once(run))
            a, b = found.ours[-1], found.theirs[-1]
            self.tell("%-34s cpu %6.2f / %6.2f  wall %6.2f / %6.2f  "
                      "rss %3.0f / %3.0f MiB" %
                      (name, a.cpu, b.cpu, a.wall, b.wall, a.rss, b.rss))
        return found

    # -- what does not depend on load ---------------------------------------

    def instructions(self, run):
        """Counted by callgrind: of user space, without starting the program,
        which the daemon does once and a benchmark for each run."""
        program = run.argv[0]
        if program not in self.starts:
            self.starts[program] = self.callgrind(
                Run([program, "--version"]), check=False)
        return self.callgrind(run) - self.starts[program]

    def callgrind(self, run, check=True):
        text = self.trace(run, ["valgrind", "--tool=callgrind",
                                "--callgrind-out-file=/dev/null"], check)
        return int(re.search(r"Collected : (\d+)", text).group(1))

    def system_calls(self, run):
        text = self.trace(run, ["strace", "-c", "-f", "-q"])
        return int(re.search(r"(\d+)(?:\s+\d+)? total$", text,
                             re.MULTILINE).group(1))

    @staticmethod
    def trace(run, tracer, check=True):
        if run.before:
            run.before()
        done = subprocess.run(tracer + run.argv, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, check=False)
        if check and done.returncode:
            raise Failed(done.stderr[-300:])
        if run.after:
            run.after()
        return done.stderr
