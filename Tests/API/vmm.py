"""A VMM to test: its process, requests to its socket, and what it holds of the host."""

import http.client
import json
import os
import socket
import subprocess
import time


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix stream socket."""

    def __init__(self, path, timeout=20):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def request(path, method, name, body=None):
    """One request on a connection of its own: the status, the content type and the body's bytes."""
    connection = UnixConnection(path)
    try:
        text = json.dumps(body) if body is not None else None
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, "/api/v1/" + name, text, headers)
        reply = connection.getresponse()
        return reply.status, reply.headers.get("Content-Type"), reply.read()
    finally:
        connection.close()


class VMM:
    """`swiftlet vmm` on a socket in a scratch directory."""

    def __init__(self, swiftlet, directory, self_test="mode=hang"):
        self.directory = directory
        self.socket = os.path.join(directory, "api.sock")
        self.log = os.path.join(directory, "log")
        command = [swiftlet, "vmm", "--api-socket", self.socket, "--no-shutdown", "--self-test", self_test]
        if os.geteuid() == 0:
            # A network of its own: generated interfaces and addresses must not reach this host's.
            command = ["unshare", "--net", "--"] + command
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={"PATH": os.environ["PATH"]}, start_new_session=True)
        self.wait_for_ping()

    def wait_for_ping(self):
        deadline = time.monotonic() + 10
        while True:
            try:
                if self.get("vmm.ping")[0] == 200:
                    return
            except OSError:
                pass
            self.assert_alive()
            if time.monotonic() > deadline:
                raise SystemExit("the VMM does not answer vmm.ping within 10 s\n" + self.last_words())
            time.sleep(0.01)

    def get(self, name):
        status, _, body = request(self.socket, "GET", name)
        return status, json.loads(body) if body else None

    def put(self, name, body=None):
        status, _, reply = request(self.socket, "PUT", name, body)
        return status, json.loads(reply) if reply else None

    def assert_alive(self):
        status = self.process.poll()
        if status is not None:
            raise SystemExit(f"the VMM ended with status {status}\n" + self.last_words())

    def last_words(self):
        with open(self.log, "rb") as log:
            return "the end of its log:\n" + log.read()[-4000:].decode(errors="replace")

    def descriptors(self):
        """What its descriptors lead to."""
        folder = f"/proc/{self.process.pid}/fd"
        targets = []
        for name in os.listdir(folder):
            try:
                targets.append(os.readlink(f"{folder}/{name}"))
            except FileNotFoundError:
                pass
        return sorted(targets)

    def anonymous_memory(self):
        """Resident anonymous memory in bytes."""
        with open(f"/proc/{self.process.pid}/status") as status:
            for line in status:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
        raise SystemExit("no RssAnon in /proc/PID/status")

    def threads(self):
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
