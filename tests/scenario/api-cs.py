#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The API as the client library python3-cs uses it (TAP).

    api-cs.py SERVER     the program tests/scenario/api_server
"""
import subprocess
import sys

try:
    import cs
except ImportError:
    print("1..0 # SKIP python3-cs is not installed")
    sys.exit(0)

WEB = "0a000010-0000-4000-8000-000000000001"
SNAPSHOT = "0a000012-0000-4000-8000-000000000001"
JOB = "0a000016-0000-4000-8000-000000000001"
results = []


def client(port, who="admin", secret=None, method="get"):
    return cs.CloudStack(
        endpoint="http://127.0.0.1:%d/client/api" % port,
        key="key-" + who, secret=secret or "secret-" + who, method=method)


def check(name, good, detail=""):
    results.append(good)
    print("%s %d - %s" % ("ok" if good else "not ok", len(results), name))
    if not good:
        print("# %s" % (detail,))


def refusal(call, *args, **kwargs):
    """The error code of a call that must fail."""
    try:
        return "done: %r" % (call(*args, **kwargs),)
    except cs.CloudStackApiException as error:
        return error.error["errorcode"]


def lists(port):
    admin = client(port)
    zones = admin.listZones()
    check("zones are listed", zones["count"] == 1 and
          zones["zone"][0]["name"] == "default", zones)
    machines = admin.listVirtualMachines(listall=True, fetch_list=True)
    check("machines are fetched page by page",
          sorted(m["name"] for m in machines) == ["mill", "shop", "web"],
          machines)
    snapshots = admin.listVMSnapshot(virtualmachineid=WEB)
    check("VM snapshots are listed",
          [s["id"] for s in snapshots["vmSnapshot"]][-1] == SNAPSHOT,
          snapshots)
    check("an empty list is empty", admin.listNetworks() == {},
          admin.listNetworks())


def signatures(port):
    for method in ("get", "post"):
        found = client(port, method=method).listVMSnapshot(
            keyword="my snap*1~(a)+\u00e9[x]&=%")
        check("special characters are signed, by %s" % method, found == {},
              found)
    check("a wrong secret is 401",
          refusal(client(port, secret="no").listZones) == 401)


def changes(port):
    for method in ("get", "post"):
        reply = client(port, method=method).createVMSnapshot(
            virtualmachineid=WEB, name="first \u00fc\u00f1\u00ef",
            snapshotmemory=False)
        check("a snapshot is asked for, by %s" % method,
              sorted(reply) == ["id", "jobid"], reply)
    code = refusal(client(port).createVMSnapshot, virtualmachineid="17")
    check("a wrong id is 431", code == 431, code)
    code = refusal(client(port, "guest").listHosts)
    check("what is for root admins is 531", code == 531, code)


def jobs(port):
    job = client(port).queryAsyncJobResult(jobid=JOB)
    check("a job tells what came of it", job["jobstatus"] == 1 and
          job["jobresultcode"] == 0 and
          job["jobresult"]["vmsnapshot"]["id"] == SNAPSHOT, job)


def main():
    server = subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline())
        for part in (lists, signatures, changes, jobs):
            part(port)
    finally:
        server.stdin.close()
        server.wait(20)
    print("1..%d" % len(results))
    return 0 if all(results) else 1


sys.exit(main())
