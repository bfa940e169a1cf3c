# SPDX-License-Identifier: Apache-2.0
"""nbd.py -- write into an image as a guest would: through qemu-nbd."""
import os
import socket
import struct
import subprocess
import tempfile
import time

MAGIC = 0x49484156454F5054
REQUEST = 0x25609513
CHUNK = 1 << 20


class Server:
    """with Server("disk.qcow2") as server: server.write(offset, data)"""

    def __init__(self, image):
        self.folder = tempfile.mkdtemp(prefix="varve-bench-")
        path = self.folder + "/s"
        self.process = subprocess.Popen(
            ["qemu-nbd", "-k", path, "-f", "qcow2", "--cache=unsafe",
             "--discard=unmap", image])
        self.socket = socket.socket(socket.AF_UNIX)
        for _ in range(500):
            try:
                self.socket.connect(path)
                break
            except OSError:
                time.sleep(0.02)
        self.greet()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.sendall(struct.pack(">IHHQQI", REQUEST, 0, 2, 0, 0, 0))
        self.socket.close()
        self.process.wait()
        os.rmdir(self.folder)

    def receive(self, length):
        data = b""
        while len(data) < length:
            part = self.socket.recv(length - len(data))
            if not part:
                raise OSError("qemu-nbd hung up")
            data += part
        return data

    def greet(self):
        """The default export, by the oldest of the ways to ask for it."""
        self.receive(18)
        self.socket.sendall(struct.pack(">I", 3))
        self.socket.sendall(struct.pack(">QII", MAGIC, 1, 0))
        self.receive(10)

    def write(self, offset, data):
        for at in range(0, len(data), CHUNK):
            part = data[at:at + CHUNK]
            self.socket.sendall(
                struct.pack(">IHHQQI", REQUEST, 0, 1, 0, offset + at,
                            len(part)) + part)
            _, error, _ = struct.unpack(">IIQ", self.receive(16))
            if error:
                raise OSError(error, "qemu-nbd refused a write")
