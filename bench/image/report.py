# SPDX-License-Identifier: Apache-2.0
"""report.py -- what was measured, as a table of a Markdown page."""
import os
import platform
import re
import subprocess
import time

from scaling import DEPTHS, SIZES

UNITS = {"cpu": "CPU", "wall": "wall", "instructions": "instructions",
         "bytes": "size", "MiB": "peak memory, MiB", "calls": "system calls"}


def output(*argv):
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, check=False)
    except OSError:
        return "none"
    return done.stdout.strip()


def processor():
    with open("/proc/cpuinfo", encoding="ascii") as info:
        names = re.findall(r"^model name\s*: (.*)$", info.read(), re.MULTILINE)
    return "%d x %s" % (len(names), names[0] if names else platform.machine())


def value_text(row):
    if row.value is None:
        return "-"
    if row.figure == "MiB":
        return "%.0f" % row.value
    if isinstance(row.value, float):
        return "%.3f" % row.value
    return str(row.value)


def table(rows):
    lines = ["| goal | what | figure | measured | bar | verdict |",
             "|---|---|---|---|---|---|"]
    for row in rows:
        what = row.what + (" (%s)" % row.note if row.note else "")
        lines.append("| %s | %s | %s | %s | %s | %s |" %
                     (row.goal, what, UNITS.get(row.figure, row.figure),
                      value_text(row), row.bar, row.verdict()))
    return lines


def scaling_tables(sizes, depths):
    lines = ["", "## What it grows with", "",
             "The same content and the same change of 8 MiB on larger and "
             "larger disks: CPU", "seconds / wall seconds / MiB at the peak.",
             "", "| operation | " + " | ".join("%d GiB" % gib
                                               for gib in SIZES) + " |",
             "|---|" + "---|" * len(SIZES)]
    for name, samples in sizes.items():
        lines.append("| %s | %s |" % (name, " | ".join(
            "%.2f / %.2f / %.0f" % (s.cpu, s.wall, s.rss) for s in samples)))
    lines += ["", "A restore of a chain to raw, the same amount of data:", "",
              "| layers | CPU s | wall s | MiB |", "|---|---|---|---|"]
    for depth, sample in zip(DEPTHS, depths):
        lines.append("| %d | %.2f | %.2f | %.0f |" %
                     (depth, sample.cpu, sample.wall, sample.rss))
    return lines


def commit(root):
    """Asked before the run: the tree may go on meanwhile."""
    changes = output("git", "-C", root, "status", "--porcelain", "src")
    return (output("git", "-C", root, "rev-parse", "--short=12", "HEAD") +
            (" with changes" if changes else ""))


def page(options, measured, goals, scaling, load):
    version = output("qemu-img", "--version").splitlines()[0]
    lines = [
        "# Performance", "",
        "Written by `./dev bench image --goals`; "
        "[bench/README.md](../bench/README.md) says how it",
        "is measured. A ratio below 1 is ours being cheaper than the peer in "
        "the same run:", "the median, with the smallest and the largest of "
        "the rounds. Wall ratios are in", "brackets: they depend on who else "
        "uses the machine, and decide nothing.", "",
        "- Machine: %s, %d MiB, Linux %s" %
        (processor(), os.sysconf("SC_PHYS_PAGES") * 4096 >> 20,
         platform.release()),
        "- Versions: %s, libzstd %s, commit %s" %
        (version, output("pkg-config", "--modversion", "libzstd"), measured),
        "- Options: `%s`" % " ".join(options),
        "- Disk: %d clusters with data (%d MiB), %d increments of 5 %%" %
        (goals.lab.clusters, goals.lab.guest_bytes >> 20, goals.lab.depth),
        "- When: %s; load before %.1f, after %.1f" %
        (time.strftime("%Y-%m-%d"), load, os.getloadavg()[0]),
        ""]
    if load > os.cpu_count():
        lines += ["The machine was busy with other things: here the wall "
                  "ratios say nothing.", ""]
    lines += ["## Goals", ""]
    lines += table(goals.rows)
    if scaling:
        lines += scaling_tables(*scaling)
    return "\n".join(lines) + "\n"
