#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The daemon itself with many clients at once (TAP); made for its build with
the thread sanitizer.

    daemon-storm.py VARVED [SECONDS]

Its libvirt is the one that lives in a file ("test:///"), so that nothing of
this host is touched: machines with image files of their own are started,
stopped, snapshotted, backed up, restored and deleted by several clients each,
while others list everything, change settings, cancel jobs, and begin and end
sessions.  What a client asks may be refused; what the daemon may not do is to
end, to hang, or to answer that something is wrong in itself.
"""
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

MACHINES = 4
GRACE_SECONDS = 60
KINDS = 3  # of jobs, at least
# Mistakes of the daemon's own, unlike refusals.
BAD = (500, 530)

LISTS = ("listVirtualMachines", "listVolumes", "listVMSnapshot", "listBackups",
         "listEvents", "listAsyncJobs", "getStatus", "listConfigurations",
         "listApis", "listUsageRecords")
SETTINGS = (("backup.operations.limit", ("0", "500")),
            ("backup.low.priority", ("true", "false")),
            ("primary.check.interval", ("1", "60")),
            ("libvirt.events.enabled", ("true", "false")),
            ("repository.scrub.interval", ("0", "1")))

DOMAIN = """<domain type='test'><name>m%d</name>
<uuid>4dea22b3-1d52-d8f3-2516-782e98ab3f%02d</uuid>
<memory>65536</memory><vcpu>1</vcpu><os><type>hvm</type></os>
<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
<source file='%s'/><target dev='vda' bus='virtio'/></disk></devices></domain>
"""

results = []


def check(name, good, detail=""):
    results.append(good)
    print("%s %d - %s" % ("ok" if good else "not ok", len(results), name))
    if not good:
        for line in str(detail).splitlines()[-60:]:
            print("# %s" % line)
    sys.stdout.flush()


class Local(http.client.HTTPConnection):
    """HTTP over the daemon's Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=GRACE_SECONDS)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(GRACE_SECONDS)
        self.sock.connect(self.path)


class Client(threading.Thread):
    """Asks until it is told to end; what must not be is in `wrong`."""

    def __init__(self, storm, number, act):
        super().__init__(daemon=True)
        self.storm = storm
        self.random = random.Random(storm.seed * 100 + number)
        self.act = act
        self.asked = 0
        self.done = 0
        self.wrong = []

    def ask(self, command, method="GET", headers=None, **params):
        text = urllib.parse.urlencode(dict(params, command=command,
                                           response="json"))
        connection = Local(self.storm.socket)
        try:
            if method == "POST":
                connection.request("POST", "/client/api", text, dict(
                    headers or {}, **{"Content-Type":
                                      "application/x-www-form-urlencoded"}))
            else:
                connection.request("GET", "/client/api?" + text,
                                   headers=headers or {})
            answer = connection.getresponse()
            body = json.loads(answer.read())
        finally:
            connection.close()
        self.asked += 1
        self.done += answer.status == 200
        if answer.status in BAD:
            self.wrong.append("%s: %s %s" % (command, answer.status, body))
        return answer, list(body.values())[0]

    def items(self, command, key, **params):
        return self.ask(command, listall="true", **params)[1].get(key, [])

    def pick(self, command, key, **params):
        items = self.items(command, key, **params)
        return self.random.choice(items)["id"] if items else None

    def run(self):
        try:
            while not self.storm.over.is_set():
                self.act(self)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if not self.storm.over.is_set():
                self.wrong.append(repr(error))


def read_all(client):
    client.ask(client.random.choice(LISTS), listall="true")


def trouble(client):
    act = client.random.randrange(4)
    if act == 0:
        name, values = client.random.choice(SETTINGS)
        client.ask("updateConfiguration", name=name,
                   value=client.random.choice(values))
    elif act == 1:
        jobs = client.items("listAsyncJobs", "asyncjobs")
        if jobs:
            client.ask("cancelAsyncJob",
                       jobid=client.random.choice(jobs)["jobid"])
    elif act == 2:
        answer, body = client.ask(
            "login", method="POST", username="admin",
            password=client.storm.password)
        cookie = (answer.getheader("Set-Cookie") or "").split(";")[0]
        headers = {"Cookie": cookie}
        key = body.get("sessionkey", "")
        client.ask("listVirtualMachines", headers=headers, sessionkey=key)
        client.ask("logout", headers=headers, sessionkey=key)
    else:
        store = client.pick("listImageStores", "imagestore")
        if store:
            client.ask("scrubImageStore", id=store)


def work(client):
    """One operation on a machine, and the wait for its end, or not."""
    machines = client.items("listVirtualMachines", "virtualmachine")
    if not machines:
        return
    chosen = client.random.choice(machines)
    machine = chosen["id"]
    snapshot = client.pick("listVMSnapshot", "vmSnapshot",
                           virtualmachineid=machine)
    backup = client.pick("listBackups", "backup", virtualmachineid=machine)
    acts = [("createVMSnapshot", {"virtualmachineid": machine}),
            ("createBackup", {"virtualmachineid": machine}),
            ("createBackup", {"virtualmachineid": machine})]
    # This libvirt has no QEMU to take layers from a machine that runs, and
    # forgets of one that was started what was defined before: only the first
    # one is.
    if chosen["name"] == "m0":
        acts = [("startVirtualMachine", {"id": machine}),
                ("stopVirtualMachine", {"id": machine, "forced": "true"})]
    if snapshot:
        acts += [("deleteVMSnapshot", {"vmsnapshotid": snapshot}),
                 ("revertToVMSnapshot", {"vmsnapshotid": snapshot})]
    if backup:
        acts += [("restoreBackup", {"id": backup}),
                 ("verifyBackup", {"id": backup}),
                 ("deleteBackup", {"id": backup}),
                 ("foldBackup", {"id": backup}),
                 ("listBackupChanges", {"id": backup, "sinceid": backup})]
    command, params = client.random.choice(acts)
    _, body = client.ask(command, **params)
    wait = client.random.randrange(3) > 0 and "jobid" in body
    while wait and not client.storm.over.is_set():
        _, job = client.ask("queryAsyncJobResult", jobid=body["jobid"])
        wait = job.get("jobstatus") == 0
        if job.get("jobstatus") == 1:
            client.storm.note(command)
        client.storm.over.wait(0.02)


class Storm:
    def __init__(self, varved, seconds):
        self.varved = varved
        self.seconds = seconds
        self.seed = int(os.environ.get("VARVE_SEED") or time.time() % 100000)
        self.over = threading.Event()
        self.folder = tempfile.mkdtemp(prefix="varve-storm-")
        self.socket = self.folder + "/socket"
        self.log = self.folder + "/log"
        self.password = ""
        self.process = None
        self.counts = {}
        self.lock = threading.Lock()

    def note(self, command):
        with self.lock:
            self.counts[command] = self.counts.get(command, 0) + 1

    def prepare(self):
        node = "<node>"
        os.mkdir(self.folder + "/pool")
        for i in range(MACHINES):
            image = "%s/pool/m%d.qcow2" % (self.folder, i)
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image,
                            "4M"], check=True)
            subprocess.run(["qemu-io", "-f", "qcow2", "-c",
                            "write -q -P %d 0 1M" % (i + 1), image],
                           check=True)
            domain = "%s/m%d.xml" % (self.folder, i)
            with open(domain, "w", encoding="ascii") as file:
                file.write(DOMAIN % (i, i, image))
            node += "<domain file='%s'/>" % domain
        with open(self.folder + "/node.xml", "w", encoding="ascii") as file:
            file.write(node + "</node>")
        with open(self.folder + "/conf", "w", encoding="ascii") as file:
            file.write("state-dir = {0}/state\nrun-dir = {0}/run\n"
                       "socket = {0}/socket\nlisten =\nhook-dir = {0}/hooks\n"
                       "repository = {0}/repository\n"
                       "libvirt-uri = test://{0}/node.xml\n".format(
                           self.folder))

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def start(self):
        suppressions = os.path.dirname(os.path.abspath(__file__)) + \
            "/../tsan.supp"
        environment = dict(os.environ)
        environment.setdefault("TSAN_OPTIONS",
                               "halt_on_error=1:suppressions=" + suppressions)
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [self.varved, "--config", self.folder + "/conf"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env=environment)
        deadline = time.monotonic() + GRACE_SECONDS
        while "daemon-started" not in self.said():
            if self.process.poll() is not None or \
                    time.monotonic() > deadline:
                return False
            self.over.wait(0.05)
        with open(self.folder + "/state/admin.key",
                  encoding="utf-8") as file:
            for line in file:
                if line.startswith("password"):
                    self.password = line.split("=", 1)[1].strip()
        return True

    def offer(self):
        """Every machine is stopped and gets a backup offering."""
        client = Client(self, 0, None)
        _, native = client.ask("createNativeBackupOffering", name="n",
                               backupchainsize="3")
        zone = client.pick("listZones", "zone")
        client.ask("importBackupOffering", name="o", description="o",
                   externalid=native["nativebackupoffering"]["id"],
                   zoneid=zone, allowuserdrivenbackups="true")
        offering = None
        while offering is None:
            offering = client.pick("listBackupOfferings", "backupoffering")
        for machine in client.items("listVirtualMachines", "virtualmachine"):
            client.ask("stopVirtualMachine", id=machine["id"], forced="true")
            client.ask("assignVirtualMachineToBackupOffering",
                       virtualmachineid=machine["id"],
                       backupofferingid=offering)
        return len(client.items("listVirtualMachines", "virtualmachine"))

    def blow(self):
        """For so many seconds, and on a busy host until enough was done."""
        acts = [work] * (2 * MACHINES) + [read_all] * 3 + [trouble] * 2
        clients = [Client(self, i + 1, act) for i, act in enumerate(acts)]
        for client in clients:
            client.start()
        end = time.monotonic() + self.seconds
        while self.process.poll() is None and (
                time.monotonic() < end or
                len(self.counts) < KINDS and
                time.monotonic() < end + GRACE_SECONDS):
            self.over.wait(0.2)
        self.over.set()
        for client in clients:
            client.join(GRACE_SECONDS)
        return clients

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return "it had to be killed"


def main():
    if shutil.which("qemu-img") is None or shutil.which("qemu-io") is None:
        print("1..0 # SKIP there is no qemu-img or no qemu-io")
        return 0
    storm = Storm(sys.argv[1], float((sys.argv + ["15"])[2]))
    print("# VARVE_SEED=%d" % storm.seed)
    try:
        storm.prepare()
        check("it starts", storm.start(), storm.said())
        if not results[0]:
            return 1
        check("every machine is listed", storm.offer() == MACHINES,
              storm.said())
        clients = storm.blow()
        wrong = [text for client in clients for text in client.wrong]
        print("# %d requests, %d done; jobs done: %s" % (
            sum(c.asked for c in clients), sum(c.done for c in clients),
            ", ".join("%s %d" % item
                      for item in sorted(storm.counts.items()))))
        check("it answers everybody, and never that it is wrong itself",
              not wrong and not any(c.is_alive() for c in clients),
              "\n".join(wrong))
        check("jobs are done meanwhile", len(storm.counts) >= KINDS,
              storm.counts)
        status = storm.stop()
        check("it ends in order", status == 0,
              "%s\n%s" % (status, storm.said()))
        check("no sanitizer has anything to say",
              "Sanitizer" not in storm.said(), storm.said())
    finally:
        if storm.process is not None and storm.process.poll() is None:
            storm.process.kill()
        shutil.rmtree(storm.folder, ignore_errors=True)
    print("1..%d" % len(results))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
