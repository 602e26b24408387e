"""Brings the VM into the state that a request is to meet, so that generated requests get beyond `VM is not created`."""

PLAIN = {
    "cpus": {"boot_vcpus": 1, "max_vcpus": 1}, "memory": {"size": 32 << 20},
    "console": {"mode": "Null"}, "serial": {"mode": "Null"},
}
STATES = ["None", "Created", "Running", "Paused"]


class StateError(Exception):
    """A step of the plain life failed."""


def state_of(get):
    status, info = get("vm.info")
    return info["state"] if status == 200 else "None"


def step(put, name, body=None):
    status, reply = put(name, body)
    if status != 204:
        raise StateError(f"{name} was answered with {status}: {reply}")


def arrange(get, put, wanted):
    """Makes a VM without a payload reach the state, from whatever state it is in."""
    if state_of(get) == wanted:
        return
    step(put, "vm.delete")
    if wanted != "None":
        step(put, "vm.create", PLAIN)
    if wanted in ("Running", "Paused"):
        step(put, "vm.boot")
    if wanted == "Paused":
        step(put, "vm.pause")
    if state_of(get) != wanted:
        raise StateError(f"the VM is {state_of(get)}, and should be {wanted}")
