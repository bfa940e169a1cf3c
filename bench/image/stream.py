#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""stream.py OVERLAY: block-stream of its whole chain, as QEMU does it."""
import json
import socket
import subprocess
import sys


def main():
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        ["qemu-storage-daemon", "--blockdev",
         "driver=file,node-name=file,filename=" + sys.argv[1], "--blockdev",
         "driver=qcow2,node-name=top,file=file", "--chardev",
         "socket,fd=%d,id=c" % theirs.fileno(), "--monitor", "chardev=c"],
        pass_fds=[theirs.fileno()])
    theirs.close()
    stream = ours.makefile("rw")
    stream.readline()

    def command(name, **arguments):
        json.dump({"execute": name, "arguments": arguments}, stream)
        stream.write("\n")
        stream.flush()
        while True:
            answer = json.loads(stream.readline())
            if "error" in answer:
                sys.exit(answer["error"]["desc"])
            if "return" in answer:
                return

    command("qmp_capabilities")
    command("block-stream", **{"job-id": "j", "device": "top"})
    while True:
        event = json.loads(stream.readline())
        if event.get("event") == "BLOCK_JOB_COMPLETED":
            if "error" in event["data"]:
                sys.exit(event["data"]["error"])
            break
    command("quit")
    stream.close()
    ours.close()
    sys.exit(process.wait())


if __name__ == "__main__":
    main()
