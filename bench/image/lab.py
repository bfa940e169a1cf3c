# SPDX-License-Identifier: Apache-2.0
"""lab.py -- a disk, its backups by us and by a peer, and the runs on them."""
import glob
import os
import shutil
import subprocess

import workload
from measure import Run

POINT = "aaaaaaaa-aaaa-4aaa-8aaa-%012d"
ZSTD = ("-c", "-O", "qcow2", "-o", "compression_type=zstd")
BEST = ("-m", "16", "-W")


def remove(*paths):
    for path in paths:
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.exists(path):
            os.unlink(path)


def stored(*patterns):
    """Bytes that files take on the disk."""
    return sum(os.stat(path).st_blocks * 512
               for pattern in patterns for path in glob.glob(pattern))


class Lab:
    """`megabytes` says which disk; `depth` how many increments it has."""

    def __init__(self, cache, work, tool, megabytes, depth=8):
        self.tool = tool
        self.depth = depth
        self.disk = workload.make(cache, megabytes)
        self.work = work
        self.repo = work + "/repo"
        self.peer = work + "/peer"
        self.clusters = len(workload.allocated(self.disk + "/base.qcow2"))
        self.guest_bytes = self.clusters * workload.CLUSTER

    def layer(self, number):
        return self.disk + ("/inc%d.qcow2" % number if number
                            else "/base.qcow2")

    def chain(self, top):
        return [self.layer(number) for number in range(top, -1, -1)]

    def make_chains(self):
        """A full and its increments: ours and the peer's, same level."""
        remove(self.repo, self.peer)
        os.makedirs(self.peer)
        for number in range(self.depth + 1):
            self.ours("backup", "-l", 3, self.repo, self.layer(number),
                      POINT % number,
                      *([POINT % (number - 1)] if number else []))
            below = ["-B", "q%d.qcow2" % (number - 1), "-F", "qcow2"]
            subprocess.run(["qemu-img", "convert", *BEST, *ZSTD,
                            *(below if number else []), self.layer(number),
                            "q%d.qcow2" % number], check=True, cwd=self.peer)

    def ours(self, *arguments):
        subprocess.run([self.tool, *map(str, arguments)], check=True)

    def images(self, repo=None):
        return glob.glob((repo or self.repo) + "/backups/*/*/*.qcow2")

    def peers(self):
        return sorted(glob.glob(self.peer + "/q*.qcow2"), reverse=True)

    # -- backup -------------------------------------------------------------

    def full(self, level, threads=0):
        repo = self.work + "/full"
        return Run([self.tool, "backup", "-l", level,
                    *(["-j", threads] if threads else []), repo,
                    self.layer(0), POINT % 0], reads=self.chain(0),
                   before=lambda: remove(repo), after=lambda: remove(repo),
                   stored=lambda: stored(repo + "/backups/*/*/*.qcow2"))

    def qemu_full(self, *how, codec="zstd"):
        """Durable, as ours: synced before the clock is stopped."""
        image = self.work + "/full.qcow2"
        return Run(["sh", "-c", "qemu-img convert -c -O qcow2 -o "
                    "compression_type=%s %s %s %s && sync %s" %
                    (codec, " ".join(how), self.layer(0), image, image)],
                   reads=self.chain(0), before=lambda: remove(image),
                   after=lambda: remove(image), stored=lambda: stored(image))

    def incremental(self, level):
        """The first increment, on the repository's full."""
        repo = self.work + "/incremental"

        def before():
            remove(repo)
            self.ours("backup", "-l", 3, repo, self.layer(0), POINT % 0)
            self.ours("backup", "-l", 3, repo, self.layer(1), POINT % 1,
                      POINT % 0)

        def forget():
            self.ours("remove", repo, POINT % 2)

        before()
        return Run([self.tool, "backup", "-l", level, repo, self.layer(2),
                    POINT % 2, POINT % 1], reads=self.chain(2), after=forget,
                   stored=lambda: stored(repo + "/backups/*/*/*2.qcow2"))

    def qemu_incremental(self):
        image = self.peer + "/increment.qcow2"
        return Run(["sh", "-c", "qemu-img convert -c -m 16 -W -O qcow2 -o "
                    "compression_type=zstd -B %s/q1.qcow2 -F qcow2 %s %s && "
                    "sync %s" % (self.peer, self.layer(2), image, image)],
                   reads=self.chain(2), before=lambda: remove(image),
                   after=lambda: remove(image), stored=lambda: stored(image))

    def copy(self, *how):
        image, index = self.work + "/copy.qcow2", self.work + "/copy.idx"
        return Run([self.tool, "copy", "-l", 3, *how, self.layer(0), image,
                    index], reads=self.chain(0),
                   before=lambda: remove(image, index),
                   after=lambda: remove(image, index))

    # -- restore ------------------------------------------------------------

    def restore(self, kind="raw", depth=None, threads=0):
        target = self.work + "/restored"
        point = self.depth if depth is None else depth
        return Run([self.tool, "restore",
                    *(["-j", threads] if threads else []), self.repo,
                    POINT % point, target, kind], reads=self.images(),
                   before=lambda: remove(target), after=lambda: remove(target),
                   stored=lambda: stored(target))

    def qemu_restore(self, kind="raw"):
        target = self.work + "/restored.peer"
        return Run(["sh", "-c", "qemu-img convert -m 16 -W -O %s %s %s && "
                    "sync %s" % (kind, self.peers()[0], target, target)],
                   reads=self.peers(), before=lambda: remove(target),
                   after=lambda: remove(target), stored=lambda: stored(target))

    def qemu_stream(self):
        overlay = self.work + "/stream.qcow2"

        def before():
            remove(overlay)
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F",
                            "qcow2", "-b", self.peers()[0], overlay],
                           check=True)

        return Run(["python3", os.path.join(os.path.dirname(__file__),
                                            "stream.py"), overlay],
                   reads=self.peers(), before=before,
                   after=lambda: remove(overlay),
                   stored=lambda: stored(overlay))

    def verify(self):
        return Run([self.tool, "verify", self.repo, POINT % self.depth],
                   reads=self.images())

    # -- fold and merge -----------------------------------------------------

    def fold(self, oldest=None):
        """On a copy by links: published files never change."""
        repo = self.work + "/fold"

        def before():
            remove(repo)
            subprocess.run(["cp", "-al", self.repo, repo], check=True)

        return Run([self.tool, "fold", repo, POINT % self.depth,
                    *([POINT % oldest] if oldest is not None else [])],
                   reads=self.images(), before=before,
                   after=lambda: remove(repo),
                   stored=lambda: stored(repo + "/backups/*/*/*%d.qcow2" %
                                         self.depth))

    def qemu_synthetic(self):
        image = self.work + "/synthetic.qcow2"
        return Run(["sh", "-c", "qemu-img convert -m 16 -W %s %s %s && "
                    "sync %s" % (" ".join(ZSTD), self.peers()[0], image,
                                 image)],
                   reads=self.peers(), before=lambda: remove(image),
                   after=lambda: remove(image), stored=lambda: stored(image))

    def qemu_commit_delta(self):
        """The top increment into the one below it."""
        folder = self.work + "/delta"
        top, below = ("q%d.qcow2" % (self.depth - i) for i in (0, 1))

        def before():
            remove(folder)
            os.makedirs(folder)
            for name in (top, below):
                shutil.copy(self.peer + "/" + name, folder)
            for path in self.peers():
                name = os.path.basename(path)
                if name not in (top, below):
                    os.symlink(path, folder + "/" + name)

        return Run(["sh", "-c", "cd %s && qemu-img commit -q -d %s && sync %s"
                    % (folder, top, below)], reads=self.peers()[:2],
                   before=before, after=lambda: remove(folder),
                   stored=lambda: stored("%s/%s" % (folder, top),
                                         "%s/%s" % (folder, below)))

    def commit(self, program):
        """A plain overlay into its base, on copies of both."""
        folder = self.work + "/commit"

        def before():
            remove(folder)
            os.makedirs(folder)
            for number in (0, 1):
                shutil.copy(self.layer(number), folder)

        top = folder + "/inc1.qcow2"
        if program == "qemu":
            argv = ["sh", "-c", "qemu-img commit -q -d %s && sync %s" %
                    (top, folder + "/base.qcow2")]
        else:
            argv = [self.tool, "commit", top]
        return Run(argv, before=before, after=lambda: remove(folder),
                   reads=[])
