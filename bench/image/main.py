#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""main.py -- the benchmark of the data plane; run by bench/image.sh."""
import argparse
import os
import sys

sys.dont_write_bytecode = True
import goals as goals_module  # noqa: E402
import report  # noqa: E402
from lab import Lab, remove  # noqa: E402
from measure import Bench  # noqa: E402
from scaling import Scaling  # noqa: E402

SMALL = 130    # MB of data: callgrind is 50 times slower
QUICK = 1000
LARGE = 4000


def parse(argv):
    parser = argparse.ArgumentParser(prog="./dev bench image")
    parser.add_argument("--goals", action="store_true",
                        help="all goals on a disk of 4 GB, and write "
                        "docs/performance.md")
    parser.add_argument("--quick", action="store_true",
                        help="what does not depend on load, on 1 GB (default)")
    parser.add_argument("--only", metavar="G1,G2", help="only these goals")
    parser.add_argument("--scaling", action="store_true",
                        help="only disks of 10 GiB to 1 TiB, chains of 1 to "
                        "64 layers")
    parser.add_argument("--no-instructions", action="store_true",
                        help="do without callgrind, which takes longest")
    parser.add_argument("--size", type=int, metavar="MB",
                        help="of the disk's data (%d; %d with --quick)" %
                        (LARGE, QUICK))
    parser.add_argument("--rounds", type=int, metavar="N",
                        help="of each pair (5; 3 with --quick)")
    return parser.parse_args(argv)


def tell(text):
    print("  " + text, file=sys.stderr, flush=True)


def make_labs(cache, work, tool, arguments):
    tell("making the disks (once), and their backups")
    small = Lab(cache, work + "/small", tool, SMALL)
    large = Lab(cache, work + "/large", tool, arguments.size or
                (LARGE if arguments.goals else QUICK))
    for lab in (small, large):
        os.makedirs(lab.work)
        lab.make_chains()
    return small, large


def keep(arguments, root, text):
    if arguments.goals and not arguments.only:
        with open(root + "/docs/performance.md", "w",
                  encoding="utf-8") as file:
            file.write(text)


def main():
    arguments = parse(sys.argv[1:])
    root = os.environ["VARVE_SOURCE"]
    build = os.environ["VARVE_BUILD"]
    cache = build + "/bench"
    work = cache + "/work"
    tool = build + "/bench/varve-image"
    load = os.getloadavg()[0]
    measured = report.commit(root)

    def page(scaling):
        return report.page(sys.argv[1:], measured, goals, scaling, load)

    rounds = arguments.rounds or (5 if arguments.goals else 3)
    only = arguments.only.split(",") if arguments.only else None

    remove(work)
    os.makedirs(work)
    bench = Bench(work, tell)
    try:
        small, large = make_labs(cache, work, tool, arguments)
        goals = goals_module.Goals(bench, large, small, rounds,
                                   not arguments.no_instructions)
        scaling = None
        if not arguments.scaling:
            # A run that is broken off leaves what it has found.
            for _ in goals.run(only):
                keep(arguments, root, page(None))
        if arguments.scaling or (arguments.goals and not only):
            show = Scaling(bench, small, tool, 3)
            scaling = (show.sizes(), show.depths())
    finally:
        remove(work)
    text = page(scaling)
    print(text)
    keep(arguments, root, text)
    bad = [row for row in goals.rows if not row.is_good()]
    for row in bad:
        tell("%s %s: %s %s, the bar is %s" %
             (row.goal, row.verdict(), row.what,
              report.value_text(row), row.bar))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
