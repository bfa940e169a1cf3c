# SPDX-License-Identifier: Apache-2.0
"""scaling.py -- what grows with what: disks of 10 GiB to 1 TiB with the same
change, chains of 1 to 64 layers with the same content."""
import os
import random
import subprocess

import nbd
import workload
from lab import POINT, remove
from measure import Run

GIB = 1 << 30
SIZES = (10, 100, 1024)
DEPTHS = (1, 8, 64)


class Scaling:
    def __init__(self, bench, small, tool, rounds):
        self.bench = bench
        self.small = small
        self.tool = tool
        self.rounds = rounds
        self.folder = small.work + "/scaling"

    def make_disk(self, gib):
        """The small disk, grown; a change of 8 MiB all over it."""
        folder = "%s/%d" % (self.folder, gib)
        os.makedirs(folder)
        workload.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2",
                     "-b", self.small.layer(0), folder + "/big.qcow2",
                     "%dG" % gib)
        workload.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2",
                     "-b", "big.qcow2", folder + "/top.qcow2")
        rng = random.Random(7)
        with nbd.Server(folder + "/top.qcow2") as server:
            for _ in range(128):
                server.write(rng.randrange(gib * 16384) * 65536,
                             rng.randbytes(65536))
        return folder

    def operations(self, folder):
        """Name -> run, in an order in which they follow from each other."""
        repo, new = folder + "/repo", folder + "/new.qcow2"
        big, top = folder + "/big.qcow2", folder + "/top.qcow2"

        def overlay(below):
            return Run([self.tool, "overlay", new, below],
                       before=lambda: remove(new))

        def backup():
            subprocess.run([self.tool, "backup", repo, top, POINT % 1,
                            POINT % 0], check=True)

        def forget():
            subprocess.run([self.tool, "remove", repo, POINT % 1], check=True)

        subprocess.run([self.tool, "backup", repo, big, POINT % 0],
                       check=True)
        return {
            "create a snapshot": overlay(top),
            "revert to it": overlay(big),
            "incremental backup": Run(
                [self.tool, "backup", repo, top, POINT % 1, POINT % 0],
                after=forget),
            "delete a backup": Run([self.tool, "remove", repo, POINT % 1],
                                   before=backup),
        }

    def sizes(self):
        """Operation -> a sample (of the median CPU time) for each size."""
        found = {}
        remove(self.folder)
        for gib in SIZES:
            folder = self.make_disk(gib)
            for name, run in self.operations(folder).items():
                samples = [self.bench.once(run, cold=True)
                           for _ in range(self.rounds)]
                samples.sort(key=lambda sample: sample.cpu)
                found.setdefault(name, []).append(samples[len(samples) // 2])
                self.bench.tell("%5d GiB %-20s cpu %.3f  wall %.3f  rss %.0f" %
                                (gib, name, samples[len(samples) // 2].cpu,
                                 samples[len(samples) // 2].wall,
                                 max(s.rss for s in samples)))
            remove(folder)
        return found

    def depths(self):
        """A restore at each depth of one chain."""
        repo, target = self.folder + "/deep", self.folder + "/restored"
        below = self.small.layer(0)
        rng = random.Random(9)
        clusters = workload.allocated(below)
        remove(self.folder)
        os.makedirs(self.folder)
        found = []
        for number in range(max(DEPTHS)):
            if number:
                layer = "%s/%d.qcow2" % (self.folder, number)
                workload.run("qemu-img", "create", "-q", "-f", "qcow2", "-F",
                             "qcow2", "-b", below, layer)
                with nbd.Server(layer) as server:
                    for _ in range(8):
                        server.write(rng.choice(clusters) * 65536,
                                     rng.randbytes(65536))
                below = layer
            subprocess.run(
                [self.tool, "backup", repo, below, POINT % number,
                 *([POINT % (number - 1)] if number else [])], check=True)
        for depth in DEPTHS:
            run = Run([self.tool, "restore", repo, POINT % (depth - 1),
                       target, "raw"], before=lambda: remove(target))
            samples = sorted((self.bench.once(run, cold=True)
                              for _ in range(max(5, self.rounds))),
                             key=lambda sample: sample.cpu)
            found.append(samples[len(samples) // 2])
            self.bench.tell("%d layers: cpu %.3f  wall %.3f" %
                            (depth, found[-1].cpu, found[-1].wall))
        remove(self.folder)
        return found
