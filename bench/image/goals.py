# SPDX-License-Identifier: Apache-2.0
"""goals.py -- what the data plane is to reach, each as a ratio to a peer.

A row is one figure with its bar.  Figures that do not depend on the load of
the machine (CPU ratios of interleaved runs, instructions, system calls,
bytes, memory) decide; wall ratios are shown with their spread and judged by
eye.
"""
import os
import shutil
import subprocess

from lab import BEST, remove, stored
from measure import Failed, Run

KIB256 = 256 << 10


class Row:
    def __init__(self, goal, what, figure, value, bar, note=""):
        self.goal = goal
        self.what = what
        self.figure = figure      # "cpu", "wall", "instructions", ...
        self.value = value        # a number or a Ratio; None: missing
        self.bar = bar
        self.note = note

    def verdict(self):
        if self.value is None:
            return "missing"
        number = getattr(self.value, "median", self.value)
        good = "met" if number <= self.bar else "not met"
        return "(%s)" % good if self.figure == "wall" else good

    def is_good(self):
        return self.verdict() == "met" or self.figure == "wall"


class Goals:
    """`lab` is large, `small` is what callgrind can bear."""

    def __init__(self, bench, lab, small, rounds, instructions=True):
        self.bench = bench
        self.lab = lab
        self.small = small
        self.rounds = rounds
        self.instructions = instructions
        self.rows = []
        self.peaks = {}

    def add(self, *row, **more):
        self.rows.append(Row(*row, **more))

    def pairs(self, name, ours, theirs, rounds=None):
        found = self.bench.pairs(name, ours, theirs, rounds or self.rounds)
        self.peaks[name] = max(s.rss for s in found.ours)
        return found

    def run(self, only=None):
        """All goals, or those named, one after the other; what cannot run is
        missing."""
        for number in range(1, 15):
            goal = "G%d" % number
            if only and goal not in only:
                continue
            count = len(self.rows)
            try:
                getattr(self, goal.lower())()
            except (Failed, OSError, subprocess.CalledProcessError) as error:
                del self.rows[count:]
                self.bench.tell("%s: %s" % (goal, error))
                self.add(goal, "it did not run: %s" % error, "-", None, 0)
            yield goal

    # -- instructions -------------------------------------------------------

    def counted(self, run):
        return self.bench.instructions(run)

    def add_instructions(self, goal, what, ours, theirs, bar):
        if not self.instructions or not shutil.which("valgrind"):
            self.add(goal, what, "instructions", None, bar,
                     note="not counted")
            return
        ratio = self.counted(ours) / self.counted(theirs)
        self.bench.tell("%-34s instructions %.3f" % (what, ratio))
        self.add(goal, what, "instructions", ratio, bar)

    def alone(self, *argv):
        """qemu-img without a shell, writing to a file that goes."""
        target = self.small.work + "/alone"
        return Run(["qemu-img", *argv, target],
                   before=lambda: remove(target), after=lambda: remove(target))

    def small_full(self):
        return self.alone("convert", "-c", *BEST, "-O", "qcow2", "-o",
                          "compression_type=zstd", self.small.layer(0))

    # -- the goals ----------------------------------------------------------

    def g1(self):
        what = "full backup, zstd 3"
        found = self.pairs(what, self.lab.full(3), self.lab.qemu_full(*BEST))
        self.add("G1", what, "cpu", found.ratio("cpu"), 0.65)
        self.add("G1", what, "bytes", found.ratio("stored").median, 1.005)
        self.add("G1", what, "wall", found.ratio("wall"), 0.65)
        slow = self.pairs(what + ", -m 1", self.lab.full(3),
                          self.lab.qemu_full("-m", "1"), min(2, self.rounds))
        self.add("G1", what + ", to -m 1", "wall", slow.ratio("wall"), 0.40)
        self.add_instructions("G1", what, self.small.full(3),
                              self.small_full(), 0.73)

    def g2(self):
        what = "full backup, default level"
        found = self.pairs(what, self.lab.full(1), self.lab.qemu_full(*BEST))
        self.add("G2", what, "cpu", found.ratio("cpu"), 0.50)
        self.add("G2", what, "bytes", found.ratio("stored").median, 1.03)
        self.add("G2", what, "wall", found.ratio("wall"), 0.50)

    def g3(self):
        what = "full backup, zstd 3, to zlib"
        found = self.pairs(what, self.lab.full(3),
                           self.lab.qemu_full(*BEST, codec="zlib"), 1)
        self.add("G3", what, "cpu", found.ratio("cpu"), 0.15)
        self.add("G3", what, "bytes", found.ratio("stored").median, 1.0)

    def g4(self):
        for level, cpu in ((3, 0.75), (1, 0.55)):
            what = "incremental of 5 %%, level %d" % level
            found = self.pairs(what, self.lab.incremental(level),
                               self.lab.qemu_incremental(),
                               max(5, self.rounds))
            self.add("G4", what, "cpu", found.ratio("cpu"), cpu)
            self.add("G4", what, "wall", found.ratio("wall"), 0.65)
        what = "incremental of 5 %, level 3"
        theirs = self.alone("convert", "-c", *BEST, "-O", "qcow2", "-o",
                            "compression_type=zstd", "-B",
                            self.small.peer + "/q1.qcow2", "-F", "qcow2",
                            self.small.layer(2))
        self.add_instructions("G4", what, self.small.incremental(3), theirs,
                              0.65)

    def g5(self):
        what = "restore of 9 layers to raw"
        found = self.pairs(what, self.lab.restore(), self.lab.qemu_restore())
        self.add("G5", what, "cpu", found.ratio("cpu"), 0.45)
        self.add("G5", what, "wall", found.ratio("wall"), 0.55)
        depth = self.pairs("restore of 9 layers, to 1",
                           self.lab.restore(), self.lab.restore(depth=0))
        scale = (depth.median("theirs", "stored") /
                 depth.median("ours", "stored"))
        self.add("G5", "9 layers to 1 layer, for each byte", "cpu",
                 depth.ratio("cpu").median * scale, 1.10)
        theirs = self.alone("convert", *BEST, "-O", "raw",
                            self.small.peers()[0])
        self.add_instructions("G5", what, self.small.restore(), theirs, 0.82)

    def g6(self):
        what = "chain of 9 to one qcow2, to block-stream"
        found = self.pairs(what, self.lab.restore("qcow2"),
                           self.lab.qemu_stream())
        self.add("G6", what, "cpu", found.ratio("cpu"), 0.35)
        self.add("G6", what, "wall", found.ratio("wall"), 0.40)

    def g7(self):
        what = "synthetic full of 9 files"
        found = self.pairs(what, self.lab.fold(), self.lab.qemu_synthetic(),
                           min(3, self.rounds))
        self.add("G7", what, "cpu", found.ratio("cpu"), 0.06)
        self.add("G7", what, "wall", found.ratio("wall"), 0.20)
        theirs = self.alone("convert", "-c", *BEST, "-O", "qcow2", "-o",
                            "compression_type=zstd", self.small.peers()[0])
        self.add_instructions("G7", what, self.small.fold(), theirs, 0.03)

    def g8(self):
        what = "merge of two deltas"
        found = self.pairs(what, self.lab.fold(self.lab.depth - 1),
                           self.lab.qemu_commit_delta(), max(5, self.rounds))
        self.add("G8", what, "cpu", found.ratio("cpu"), 0.30)
        self.add("G8", what, "bytes", found.ratio("stored").median, 0.60)

    def g9(self):
        what = "offline commit of a plain overlay"
        found = self.pairs(what, self.lab.commit("ours"),
                           self.lab.commit("qemu"), max(7, self.rounds))
        self.add("G9", what, "cpu", found.ratio("cpu"), 0.70)
        self.add("G9", what, "wall", found.ratio("wall"), 0.85)
        theirs = self.small.commit("qemu")
        theirs.argv = ["qemu-img", "commit", "-q", "-d",
                       self.small.work + "/commit/inc1.qcow2"]
        self.add_instructions("G9", what, self.small.commit("ours"), theirs,
                              0.15)

    def g10(self):
        for threads, bar in ((2, 64), (4, 96)):
            for name, run in (("full backup", self.lab.full(3, threads)),
                              ("restore", self.lab.restore(threads=threads))):
                sample = self.bench.once(run)
                self.add("G10", "%s, %d threads" % (name, threads),
                         "MiB", sample.rss, bar)
        for name, peak in sorted(self.peaks.items()):
            self.add("G10", name, "MiB", peak, 96)

    def g11(self):
        what = "copy with digests, to without"
        self.add_instructions("G11", what, self.small.copy(),
                              self.small.copy("-n"), 1.03)

    def g12(self):
        what = "full backup, 2 threads to 1"
        found = self.pairs(what, self.lab.full(3, 2), self.lab.full(3, 1))
        self.add("G12", what, "cpu", found.ratio("cpu"), 1.05)
        self.add("G12", what, "wall", found.ratio("wall"), 0.56)

    def g13(self):
        if not shutil.which("strace"):
            self.add("G13", "system calls", "calls", None, 1, note="no strace")
            return
        restored = self.bench.once(self.lab.restore()).stored
        for what, run, size in (
                ("full backup", self.lab.full(3), self.lab.guest_bytes),
                ("restore of 9 layers", self.lab.restore(), restored)):
            calls = self.bench.system_calls(run)
            self.add("G13", what + ", of 1 each 256 KiB", "calls",
                     calls * KIB256 / size, 1,
                     note="%d calls, %d MiB" % (calls, size >> 20))

    def g14(self):
        what = "second run with 5 % changed, to restic"
        if not shutil.which("restic"):
            self.add("G14", what, "bytes", None, 0.15, note="no restic")
            return
        theirs = self.restic()
        ours = self.bench.once(self.lab.incremental(3))
        self.add("G14", what, "bytes", ours.stored / theirs.stored, 0.15)
        self.add("G14", what, "wall", ours.wall / theirs.wall, 0.20)

    def restic(self):
        """Its second run on a disk into which an increment was merged."""
        folder = self.lab.work + "/restic"
        remove(folder)
        os.makedirs(folder)
        for number in (0, 1):
            shutil.copy(self.lab.layer(number), folder)
        common = ["restic", "-q", "-r", folder + "/repo", "--no-cache"]
        os.environ["RESTIC_PASSWORD"] = "bench"
        data = folder + "/repo/data/*/*"
        backup = Run(common + ["backup", folder + "/base.qcow2"],
                     reads=[folder + "/base.qcow2"],
                     stored=lambda: stored(data))
        try:
            subprocess.run(common + ["init"], check=True,
                           stdout=subprocess.DEVNULL)
            first = self.bench.once(backup).stored
            subprocess.run(["qemu-img", "commit", "-q", "-d",
                            folder + "/inc1.qcow2"], check=True)
            second = self.bench.once(backup)
            second.stored -= first
        finally:
            remove(folder)
        return second


