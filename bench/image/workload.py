# SPDX-License-Identifier: Apache-2.0
"""workload.py -- the disk that is measured, made once for each size.

An ext4 in a 20 GiB disk: programs and libraries out of Debian packages, an
SQLite database, text logs, incompressible media, written zeros, and the data
of deleted files; then increments of 5 % each, half scattered small writes,
half long runs.  Everything follows from a seed and the packages.

No root is needed: mke2fs fills the file system, debugfs deletes from it.
"""
import datetime
import glob
import hashlib
import os
import random
import shutil
import sqlite3
import subprocess

import nbd

CLUSTER = 65536
DISK = 20 << 30
MIB = 1 << 20

# Unpacked about 1.7 GB; compilers, a JVM, a database server, fonts, headers.
PACKAGES = ["linux-image-amd64", "openjdk-17-jre-headless", "golang-1.19-go",
            "libllvm14", "postgresql-15", "gcc-12", "g++-12", "emacs-common",
            "git", "vim-runtime", "docker.io", "libboost1.74-dev",
            "libicu72"]

# Parts of a disk, as MB of one that has 3.9 GB allocated.
PARTS = {"packages": 1700, "database": 490, "logs": 330, "media": 525,
         "zeros": 150, "stale": 460}
WORDS = ("alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo "
         "lima mike november oscar papa quebec romeo sierra tango uniform "
         "victor whiskey xray yankee zulu layer season sediment lake bed "
         "record summer winter clay silt").split()


def run(*argv, **more):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, **more)


# -- packages -----------------------------------------------------------------

def real_name(package):
    """A kernel is named by the package that depends on it."""
    if package != "linux-image-amd64":
        return package
    text = subprocess.run(["apt-cache", "depends", package], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    return [line.split()[1] for line in text.splitlines()
            if "Depends: linux-image-" in line][0]


def unpack_packages(cache):
    """Download (with the host's apt) and unpack once; the trees' folder."""
    debs = os.path.join(cache, "debs")
    trees = os.path.join(cache, "trees")
    if os.path.exists(trees):
        return trees
    os.makedirs(debs, exist_ok=True)
    missing = [p for p in map(real_name, PACKAGES)
               if not glob.glob(os.path.join(debs, p + "_*.deb"))]
    if missing:
        run("apt-get", "-q", "download", *missing, cwd=debs)
    shutil.rmtree(trees + ".new", ignore_errors=True)
    os.makedirs(trees + ".new")
    for package in sorted(os.listdir(debs)):
        run("dpkg-deb", "-x", os.path.join(debs, package),
            os.path.join(trees + ".new", package.split("_")[0]))
    os.rename(trees + ".new", trees)
    return trees


def files_of(trees):
    """All files of the packages, in an order that mixes them."""
    found = []
    for at, _, names in os.walk(trees):
        for name in names:
            path = os.path.join(at, name)
            if os.path.isfile(path) and not os.path.islink(path):
                found.append(path)
    return sorted(found, key=lambda path: hashlib.md5(
        os.path.relpath(path, trees).encode()).digest())


def link_files(files, root, target, limit):
    """Link files into `target` until they have `limit` bytes."""
    total = 0
    for path in files:
        size = os.path.getsize(path)
        if total + size > limit:
            continue
        new = os.path.join(target, os.path.relpath(path, root))
        os.makedirs(os.path.dirname(new), exist_ok=True)
        os.link(path, new)
        total += size
        if total > limit - MIB // 4:
            break


# -- what a machine makes itself ----------------------------------------------

def make_database(path, size, rng):
    connection = sqlite3.connect(path)
    connection.execute("pragma journal_mode=off")
    connection.execute("pragma synchronous=off")
    connection.execute(
        "create table orders(id integer primary key, uuid text, customer "
        "integer, email text, amount real, status text, created text, "
        "note text)")
    start = datetime.datetime(2025, 1, 1)
    row = 0
    # The two indexes add half of the table again.
    while os.path.getsize(path) < size * 2 // 3:
        rows = []
        for _ in range(20000):
            row += 1
            rows.append((
                row, "%032x" % rng.getrandbits(128), rng.randrange(200000),
                "user%d@%s.example.com" % (rng.randrange(200000),
                                           rng.choice(WORDS)),
                rng.random() * 1000,
                rng.choice(("new", "paid", "shipped", "returned")),
                (start + datetime.timedelta(seconds=row * 7)).isoformat(),
                " ".join(rng.choices(WORDS, k=rng.randrange(3, 18)))))
        connection.executemany("insert into orders values(?,?,?,?,?,?,?,?)",
                               rows)
        connection.commit()
    connection.execute("create index by_email on orders(email)")
    connection.execute("create index by_uuid on orders(uuid)")
    connection.commit()
    connection.close()


def make_log(path, size, rng):
    agents = ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
              "curl/7.88.1", "kube-probe/1.28",
              "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)")
    start = datetime.datetime(2025, 1, 1)
    second = 0
    with open(path, "w", encoding="ascii") as log:
        while log.tell() < size:
            lines = []
            for _ in range(2000):
                second += 1
                when = start + datetime.timedelta(milliseconds=second * 190)
                lines.append(
                    "%d.%d.%d.%d - - [%s] \"GET /%s/%s?id=%d HTTP/1.1\" %d %d "
                    "\"-\" \"%s\" %.3f\n" % (
                        rng.randrange(1, 223), rng.randrange(256),
                        rng.randrange(256), rng.randrange(256),
                        when.strftime("%d/%b/%Y:%H:%M:%S +0000"),
                        rng.choice(WORDS), rng.choice(WORDS),
                        rng.randrange(999999),
                        rng.choice((200, 200, 200, 304, 404, 500)),
                        rng.randrange(100, 99999), rng.choice(agents),
                        rng.random()))
            log.write("".join(lines))


def make_media(folder, size, rng):
    os.makedirs(folder)
    for number in range(max(1, size // (2 * MIB))):
        with open("%s/%04d.jpg" % (folder, number), "wb") as file:
            file.write(rng.randbytes(min(size, 2 * MIB)))


# -- the disk -----------------------------------------------------------------

def fill_tree(cache, tree, megabytes, rng):
    """The files of the disk; the share of each part is that of PARTS."""
    def share(part):
        return int(PARTS[part] * megabytes / 3655 * 1e6)

    trees = unpack_packages(cache)
    files = files_of(trees)
    link_files(files, trees, tree + "/usr", share("packages"))
    link_files(reversed(files), trees, tree + "/stale", share("stale"))
    os.makedirs(tree + "/srv/db")
    os.makedirs(tree + "/var/log")
    make_database(tree + "/srv/db/app.sqlite", share("database"), rng)
    for number in range(4):
        make_log("%s/var/log/access.log.%d" % (tree, number),
                 share("logs") // 4, rng)
    make_media(tree + "/srv/media", share("media"), rng)
    return share("zeros")


def delete_stale(raw, tree):
    """Delete inside the file system; the blocks keep what they held."""
    commands = []
    for at, _, names in os.walk(tree + "/stale"):
        inside = at[len(tree):]
        commands += ['rm "%s/%s"\n' % (inside, name) for name in sorted(names)]
    script = raw + ".rm"
    with open(script, "w", encoding="utf-8") as file:
        file.writelines(sorted(commands))
    run("debugfs", "-w", "-f", script, raw, stderr=subprocess.DEVNULL)
    os.unlink(script)


def make_base(cache, folder, megabytes):
    tree = folder + "/tree"
    raw = folder + "/base.raw"
    base = folder + "/base.qcow2"
    environment = dict(os.environ, E2FSPROGS_FAKE_TIME="1735689600",
                       PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")
    zeros = fill_tree(cache, tree, megabytes, random.Random(42))
    run("mke2fs", "-q", "-F", "-t", "ext4", "-d", tree,
        "-U", "6f1d5e0a-0d5b-4ad2-9a43-1a4e6b7c8d9e",
        "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0,"
        "hash_seed=6f1d5e0a-0d5b-4ad2-9a43-1a4e6b7c8d9e",
        raw, "%dM" % (DISK // MIB), env=environment)
    delete_stale(raw, tree)
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, base)
    # Zeros that a guest has written stay clusters of data in its image.
    run("qemu-io", "-f", "qcow2", "-c",
        "write -P 0 %d %d" % (DISK - (1 << 30), zeros // MIB * MIB), base)
    os.unlink(raw)
    shutil.rmtree(tree)


def allocated(image):
    """The numbers of the clusters that hold data."""
    import json
    text = subprocess.run(["qemu-img", "map", "--output=json", image],
                          check=True, stdout=subprocess.PIPE).stdout
    clusters = []
    for part in json.loads(text):
        if part["data"]:
            clusters += range(part["start"] // CLUSTER,
                              (part["start"] + part["length"]) // CLUSTER)
    return clusters


def write_increment(image, clusters, pool, rng):
    """5 %: half scattered writes of 4 to 64 KiB, half runs of 1 to 8 MiB."""
    total = max(8, len(clusters) // 20)
    size = os.path.getsize(pool)
    touched = set()

    def data(length):
        chance = rng.random()
        if chance < 0.2:
            return rng.randbytes(length)
        if chance < 0.25:
            return bytes(length)
        source.seek(rng.randrange(size - length))
        return source.read(length)

    with nbd.Server(image) as server, open(pool, "rb") as source:
        while len(touched) < total // 2:
            cluster = rng.choice(clusters)
            if rng.random() < 0.6:
                length = rng.choice((4096, 8192, 16384))
                within = rng.randrange(CLUSTER - length + 1) // 4096 * 4096
            else:
                length, within = CLUSTER, 0
            server.write(cluster * CLUSTER + within, data(length))
            touched.add(cluster)
        while len(touched) < total:
            count = min(rng.randrange(16, 129), max(2, total - len(touched)))
            if rng.random() < 0.5:
                cluster = rng.choice(clusters)
            else:
                cluster = rng.randrange(DISK // CLUSTER - 20000)
            server.write(cluster * CLUSTER, data(count * CLUSTER))
            touched.update(range(cluster, cluster + count))


def make_increments(cache, folder, count):
    clusters = allocated(folder + "/base.qcow2")
    pool = folder + "/pool"
    with open(pool, "wb") as file:
        for path in files_of(unpack_packages(cache))[::3]:
            with open(path, "rb") as part:
                file.write(part.read(8 * MIB))
            if file.tell() > 400 * MIB:
                break
    below = "base.qcow2"
    for number in range(1, count + 1):
        name = "inc%d.qcow2" % number
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F",
            "qcow2", name, cwd=folder)
        write_increment("%s/%s" % (folder, name), clusters, pool,
                        random.Random(number))
        below = name
    os.unlink(pool)


def make(cache, megabytes, increments=8):
    """The folder with base.qcow2 and inc1.qcow2 ..., made if it is not there.
    """
    folder = os.path.join(cache, "disk-%d" % megabytes)
    if not os.path.exists(folder):
        new = folder + ".new"
        shutil.rmtree(new, ignore_errors=True)
        os.makedirs(new + "/tree")
        make_base(cache, new, megabytes)
        make_increments(cache, new, increments)
        os.rename(new, folder)
    return folder
