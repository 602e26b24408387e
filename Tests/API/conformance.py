"""Checks a running VMM against its OpenAPI document: see Tests/API/conformance."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import states
import vmm
from lifecycle import Replies
from lifecycle import run as run_lives

HERE = os.path.dirname(os.path.abspath(__file__))
DOCUMENT = os.path.join(HERE, "../../Sources/Control/OpenAPI/openapi.json")
# What ends the process, or the request never: these have checks of their own below.
APART = "^/(vmm\\.shutdown|vm\\.events)$"
MIB = 1 << 20


def say(text):
    print(f"conformance: {text}", flush=True)


class Forwarder:
    """A TCP port on the loopback that leads to the Unix socket, as schemathesis speaks TCP only."""

    def __init__(self, path):
        self.path = path
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/api/v1"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                server.connect(self.path)
            except OSError:
                client.close()
                continue
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def copy(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def check_document(server):
    """The served document is the repository's, and a valid one."""
    status, content_type, body = vmm.request(server.socket, "GET", "openapi.json")
    with open(DOCUMENT, "rb") as file:
        assert (status, content_type, body) == (200, "application/json", file.read()), "openapi.json is not the file"
    document = json.loads(body)
    from openapi_spec_validator import OpenAPIV31SpecValidator

    OpenAPIV31SpecValidator(document).validate()
    return document


def run_schemathesis(server, phases, seed, examples):
    environment = {
        **os.environ, "SCHEMATHESIS_HOOKS": "hooks", "SWIFTLET_SCRATCH": server.directory,
        "SWIFTLET_SOCKET": server.socket, "PYTHONPATH": HERE,
    }
    command = [
        os.path.join(os.path.dirname(sys.executable), "schemathesis"), "--config-file",
        os.path.join(HERE, "schemathesis.toml"), "run", DOCUMENT, "--url", Forwarder(server.socket).url,
        "--exclude-path-regex", APART, "--phases", phases, "--seed", str(seed),
        "--max-examples", str(examples), "--request-timeout", "30", "--suppress-health-check", "all",
        "--warnings", "off", "--continue-on-failure", "--no-color",
    ]
    status = subprocess.run(command, env=environment, cwd=server.directory, timeout=900).returncode
    server.assert_alive()
    assert status == 0, "schemathesis found failures (above)"


def check_streams(server, document):
    """The events' stream: its head and an event's form."""
    content = document["paths"]["/vm.events"]["get"]["responses"]["200"]["content"]
    connection = vmm.UnixConnection(server.socket)
    connection.request("GET", "/api/v1/vm.events")
    reply = connection.getresponse()
    assert reply.status == 200, f"vm.events answered {reply.status}"
    assert reply.headers["Content-Type"].split(";")[0] in content, reply.headers["Content-Type"]
    states.arrange(server.get, server.put, "Created")
    states.step(server.put, "vm.delete")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        line = reply.fp.readline().decode()
        if line.startswith("data:"):
            event = json.loads(line[5:])
            assert {"timestamp", "source", "event", "properties"} <= set(event), event
            assert event["source"] in ("vm", "vmm", "virtio-device", "guest"), event
            connection.close()
            return
    raise AssertionError("no event within 10 s")


def settle(server):
    """What an idle VMM without a VM holds."""
    states.step(server.put, "vm.delete")
    deadline = time.monotonic() + 5
    while True:
        held = server.descriptors(), server.threads()
        time.sleep(0.2)
        if held == (server.descriptors(), server.threads()) or time.monotonic() > deadline:
            return held


def check_holdings(server, before, memory, allowed):
    descriptors, threads = settle(server)
    assert descriptors == before[0], f"descriptors before {before[0]}, after {descriptors}"
    assert threads <= before[1], f"{before[1]} threads before, {threads} after"
    now = server.anonymous_memory()
    say(f"holds {len(descriptors)} descriptors, {threads} threads, {now / MIB:.1f} MiB (before {memory / MIB:.1f})")
    assert now <= memory + allowed, f"anonymous memory grew from {memory} to {now} bytes"
    return now


def check_end(server, document):
    """`vmm.shutdown` is answered, and the process ends well."""
    status, content_type, body = vmm.request(server.socket, "PUT", "vmm.shutdown")
    assert status == 200, f"vmm.shutdown answered {status}"
    Replies(document).check("PUT", "vmm.shutdown", status, content_type, body)
    assert server.process.wait(10) == 0, "the process did not end with status 0"
    assert not os.path.exists(server.socket), "the socket outlived its process"


def main(swiftlet, examples, lives):
    directory = tempfile.mkdtemp(prefix="swiftlet-api-")
    server = vmm.VMM(swiftlet, directory)
    began = time.monotonic()
    try:
        document = check_document(server)
        say("the document is served and valid")
        for state in states.STATES * 2:
            states.arrange(server.get, server.put, state)
        before, memory = settle(server), server.anonymous_memory()
        run_lives(server, document, lives)
        say(f"{lives} lives agree with the model; {time.monotonic() - began:.0f} s so far")
        memory = check_holdings(server, before, memory, 8 * MIB)
        run_schemathesis(server, "examples,coverage,fuzzing", 1, examples)
        memory = check_holdings(server, before, memory, 16 * MIB)
        # What the first run warmed up stays; more of the same takes no more.
        run_schemathesis(server, "fuzzing", 2, examples)
        check_holdings(server, before, memory, 4 * MIB)
        check_streams(server, document)
        check_end(server, document)
        say(f"all is as the document says; {time.monotonic() - began:.0f} s")
    except BaseException:
        say(server.last_words())
        raise
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
