"""Makes schemathesis' generated requests safe for the host, and keeps the rules that a schema cannot say.

Loaded by the conformance check (SCHEMATHESIS_HOOKS). SWIFTLET_SCRATCH names the directory that generated paths lead to,
SWIFTLET_SOCKET the VMM's socket.
"""

import copy
import itertools
import json
import os
import shutil
import signal

import schemathesis
import states
import vmm
from schemathesis.generation import GenerationMode

SCRATCH = os.environ["SWIFTLET_SCRATCH"]
SOCKET = os.environ["SWIFTLET_SOCKET"]
PATHS = {"path", "file", "kernel", "firmware", "initramfs", "src", "log_file"}
MIB = 1 << 20
numbers = itertools.count()


def is_count(value):
    return isinstance(value, int) and not isinstance(value, bool)


def confine(value):
    """Leads every path of a request into the scratch directory, whatever else is wrong with the request.

    The server reads, writes and listens where it is told to, and it may run as root.
    """
    if isinstance(value, list):
        for item in value:
            confine(item)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if isinstance(item, str) and key in PATHS and item.startswith("/") and not item.startswith(SCRATCH):
            value[key] = SCRATCH + "/" + item.lstrip("/").replace("..", "__")
        elif isinstance(item, str) and key in ("socket", "api_socket") and item.startswith("/"):
            value[key] = item.lstrip("/").replace("..", "__")[:20]
        elif key in ("destination_url", "directory_url") and isinstance(item, str) and item.startswith("file:///") and SCRATCH not in item:
            value[key] = "file://" + SCRATCH + "/" + item[8:].lstrip("/").replace("..", "__")
        else:
            confine(item)
    memory = value.get("memory")
    if isinstance(memory, dict):
        # What is touched at once has to fit into this host, and what is promised is given at a boot.
        memory.pop("prefault", None)
        if is_count(memory.get("size")) and 1024 * MIB < memory["size"] <= MIB * MIB * 64:
            memory["size"] = 1024 * MIB + memory["size"] % (1 << 12)
    cpus = value.get("cpus")
    if isinstance(cpus, dict) and is_count(cpus.get("boot_vcpus")) and 8 < cpus["boot_vcpus"] <= 4096:
        # Each is a thread that runs a guest: what is more than a host's CPUs costs time and shows nothing. What no VM
        # may have stays as it is: it is refused.
        cpus["boot_vcpus"] = 8


def serve_paths(value, key=""):
    """Gives a valid request paths that lead somewhere: disks to images, the rest into a directory that exists."""
    for name, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        if isinstance(item, (dict, list)):
            serve_paths(item, key if isinstance(value, list) else name)
        elif name in PATHS and isinstance(item, str) and not (name == "src" and item == "/dev/urandom"):
            value[name] = image_file(item) if name == "path" else plain_file("file-", item)
        elif name in ("socket", "api_socket") and isinstance(item, str):
            value[name] = f"socket{next(numbers)}"
        elif name == "destination_url" and isinstance(item, str) and not item.startswith("file:"):
            # Nobody listens there, which shows at once.
            value[name] = "tcp:127.0.0.1:9" if "tls_dir" in value else "unix:" + SCRATCH + "/nobody"
        elif name == "receiver_url" and isinstance(item, str):
            # No directory that is made up has certificates, so that nobody waits at the former.
            value[name] = "tcp:127.0.0.1:0" if "tls_dir" in value else "unix:" + SCRATCH + f"/receiver{next(numbers)}"
        elif name == "destination_url":
            value[name] = "file://" + unused_file()
        elif name == "directory_url" and isinstance(item, str):
            value[name] = "file://" + SCRATCH


def plain_file(prefix, text):
    name = prefix + "".join(sign if sign.isalnum() else "_" for sign in text.removeprefix(SCRATCH))[-40:]
    return os.path.join(SCRATCH, name)


def unused_file():
    return next(path for path in (plain_file("new-", str(number)) for number in numbers) if not os.path.exists(path))


def image_file(text):
    path = plain_file("image-", text)
    if not os.path.exists(path):
        with open(path, "wb") as file:
            file.truncate(MIB)
    return path


def keep_rules(operation, body):
    """Changes a body that the schema allows so that it keeps the rules between fields, which a schema cannot say."""
    if not isinstance(body, dict):
        return
    serve_paths(body)
    vcpus = 1
    # A device that is named has to be the VM's.
    body.pop("overrides", None)
    for child in (operation == "/vm.fork" and body.get("children")) or []:
        child.pop("overrides", None)
        child.pop("disks", None)
    if operation == "/vm.fork":
        body["children"] = body["children"][:2]
    if operation == "/vm.receive-migration" and body.get("disks"):
        body["disks"] = list({disk["id"]: disk for disk in body["disks"]}.values())
    if operation in ("/vm.send-migration", "/vm.migration.check") and "zstd" not in get("vmm.ping")[1]["features"]:
        # It was built without.
        body.pop("compression", None)
    if operation == "/vm.create":
        vcpus = keep_machine_rules(body)
    for disk in disks_of(operation, body):
        keep_disk_rules(disk, vcpus)
    for net in nets_of(operation, body):
        keep_net_rules(net, vcpus)


def disks_of(operation, body):
    return [body] if operation == "/vm.add-disk" else (operation == "/vm.create" and body.get("disks")) or []


def nets_of(operation, body):
    return [body] if operation == "/vm.add-net" else (operation == "/vm.create" and body.get("net")) or []


def keep_machine_rules(body):
    cpus = body.get("cpus")
    if cpus:
        cpus["max_vcpus"] = max(cpus["max_vcpus"], cpus["boot_vcpus"])
        if cpus.get("topology"):
            parts = cpus["topology"]
            parts["cores_per_die"], parts["dies_per_package"], parts["packages"] = 2, 1, 2
            cpus["max_vcpus"] = 4 * parts["threads_per_core"]
            cpus["boot_vcpus"] = min(cpus["boot_vcpus"], cpus["max_vcpus"])
        seen = {}
        for one in cpus.get("affinity") or []:
            one["vcpu"] %= cpus["max_vcpus"]
            seen.setdefault(one["vcpu"], one)
        if cpus.get("affinity"):
            cpus["affinity"] = list(seen.values())
    memory = body.get("memory")
    if memory:
        if not memory.get("hugepages"):
            memory.pop("hugepage_size", None)
        unit = (memory.get("hugepage_size") or 2 * MIB) if memory.get("hugepages") else 4096
        memory["size"] = max(unit, memory["size"] // unit * unit, 16 * MIB)
        if memory.get("shared"):
            memory["mergeable"] = False
    console = body.get("debug_console")
    if console:
        console["iobase"] = 0xE9
    terminals = [body[key] for key in ("console", "serial", "debug_console") if body.get(key)]
    for console in [one for one in terminals if one["mode"] == "Tty"][1:]:
        console["mode"] = "Null"
    if (body.get("serial") or body.get("debug_console")) and not body.get("console"):
        body["console"] = {"mode": "Null"}
    return cpus["boot_vcpus"] if cpus else 1


def keep_disk_rules(disk, vcpus):
    if disk.get("num_queues"):
        disk["num_queues"] = min(disk["num_queues"], vcpus)
    if isinstance(disk.get("serial"), str):
        disk["serial"] = disk["serial"].encode()[:20].decode(errors="ignore")
    if disk.get("physical_block_size"):
        disk["physical_block_size"] = max(disk["physical_block_size"], disk.get("logical_block_size") or 512)


def keep_net_rules(net, vcpus):
    if net.get("num_queues"):
        net["num_queues"] = min(net["num_queues"], 2 * vcpus)
    if not net.get("ip") or not net.get("mask"):
        net.pop("ip", None)
        net.pop("mask", None)
    if net.get("offload_csum") is False:
        net["offload_tso"] = net["offload_ufo"] = False


def call(method, name, body=None):
    status, _, reply = vmm.request(SOCKET, method, name, body)
    return status, json.loads(reply) if reply else None


def get(name):
    return call("GET", name)


def put(name, body=None):
    return call("PUT", name, body)


# What each operation meets, in turn. None leaves the VM as the last request left it.
STATES = {
    "/vm.create": ["None"],
    "/vm.boot": [None, "Created", "Paused"],
    "/vm.pause": ["Running", None],
    "/vm.resume": ["Paused", None],
}
turns = {}


def prepare(operation):
    wanted = STATES.get(operation, ["Created", "Running", "Created", "Paused", None])
    turn = turns.setdefault(operation, itertools.cycle(wanted))
    state = next(turn)
    if state is not None:
        states.arrange(get, put, state)


@schemathesis.hook
def before_call(context, case, kwargs):
    if isinstance(case.body, (dict, list)):
        # The body may be the schema's own example, which is needed again as it was.
        body = copy.deepcopy(case.body)
        confine(body)
        if case.meta is None or case.meta.generation.mode == GenerationMode.POSITIVE:
            keep_rules(case.operation.path, body)
        if body != case.body:
            case.body = body
    prepare(case.operation.path)


@schemathesis.hook
def after_call(context, case, response):
    if case.operation.path == "/vm.create" and response.status_code == 204:
        boot_what_was_created()
    if case.operation.path == "/vm.coredump" and response.status_code == 204:
        os.remove(case.body["destination_url"].removeprefix("file://"))
    if case.operation.path == "/vm.fork" and response.status_code == 200:
        for child in response.json()["children"]:
            os.kill(child["pid"], signal.SIGTERM)
    if case.operation.path == "/vm.snapshot" and response.status_code == 204:
        shutil.rmtree(case.body["destination_url"].removeprefix("file://"))


def boot_what_was_created():
    """Whatever a configuration asks for, a boot is done or refused with a reason, and the VM goes away again."""
    status, reply = put("vm.boot")
    assert status in (204, 400, 409, 500, 501), f"vm.boot was answered with {status}: {reply}"
    assert status == 204 or (isinstance(reply, list) and len(reply) > 1), f"vm.boot's error is {reply}"
    status, info = get("vm.info")
    assert status == 200 and info["state"] == ("Running" if reply is None else "Created"), info
    assert put("vm.delete") == (204, None)
