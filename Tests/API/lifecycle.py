"""Lives of a VM, drawn at random and compared with a model: every action in every state, every reply by its schema."""

import json
import os

import jsonschema_rs
import states
import vmm
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

# The status of each action by the state that it meets.
ACTIONS = {
    "vm.boot": {"None": 404, "Created": 204, "Running": 500, "Paused": 500},
    "vm.shutdown": {"None": 404, "Created": 500, "Running": 204, "Paused": 204},
    "vm.delete": {"None": 204, "Created": 204, "Running": 204, "Paused": 204},
    "vm.reboot": {"None": 404, "Created": 404, "Running": 204, "Paused": 204},
    "vm.pause": {"None": 404, "Created": 500, "Running": 204, "Paused": 500},
    "vm.resume": {"None": 404, "Created": 500, "Running": 500, "Paused": 204},
    "vm.power-button": {"None": 404, "Created": 500, "Running": 204, "Paused": 204},
    "vm.nmi": {"None": 404, "Created": 500, "Running": 204, "Paused": 204},
}
LEADS_TO = {
    "vm.boot": "Running", "vm.shutdown": "Created", "vm.delete": "None", "vm.reboot": "Running", "vm.pause": "Paused",
    "vm.resume": "Running",
}


class Replies:
    """Checks replies against the document."""

    def __init__(self, document):
        self.document = document
        self.validators = {}

    def check(self, method, name, status, content_type, body):
        operation = self.document["paths"]["/" + name][method.lower()]
        where = f"{method} {name} answered {status}"
        assert str(status) in operation["responses"], f"{where}, which is not documented"
        response = operation["responses"][str(status)]
        if "$ref" in response:
            response = self.document["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
        if "content" not in response:
            assert body == b"", f"{where} with a body that is not documented: {body[:200]!r}"
            return None
        (media, content), = response["content"].items()
        assert (content_type or "").split(";")[0] == media, f"{where} as {content_type}, not {media}"
        if media != "application/json":
            return body
        value = json.loads(body)
        schema = content["schema"]
        key = json.dumps(schema)
        if key not in self.validators:
            whole = {**schema, "components": self.document["components"]}
            self.validators[key] = jsonschema_rs.Draft202012Validator(whole)
        errors = [f"{error.instance_path}: {error.message}" for error in self.validators[key].iter_errors(value)]
        assert not errors, f"{where}, which breaks its schema: {errors[:3]}"
        return value


class Life(RuleBasedStateMachine):
    """The model: a state, and the disks of the configuration by their ids."""

    server = None
    replies = None

    @initialize()
    def nothing(self):
        assert self.put("vm.delete")[0] == 204
        self.state, self.disks, self.leaving = "None", {}, set()

    def call(self, method, name, body=None):
        status, content_type, reply = vmm.request(self.server.socket, method, name, body)
        return status, self.replies.check(method, name, status, content_type, reply)

    def put(self, name, body=None):
        return self.call("PUT", name, body)

    @rule(vcpus=st.integers(1, 2), mib=st.integers(16, 64), disks=st.integers(0, 2))
    def create(self, vcpus, mib, disks):
        config = {**states.PLAIN, "cpus": {"boot_vcpus": vcpus, "max_vcpus": vcpus}, "memory": {"size": mib << 20}}
        images = [self.image(f"first{index}") for index in range(disks)]
        config["disks"] = [{"path": path, "image_type": "Raw"} for path in images]
        status, _ = self.put("vm.create", config)
        assert status == (204 if self.state == "None" else 500)
        if status == 204:
            self.state = "Created"
            _, info = self.call("GET", "vm.info")
            self.disks = {disk["id"]: disk["path"] for disk in info["config"].get("disks", [])}
            assert sorted(self.disks.values()) == sorted(images)

    @rule(name=st.sampled_from(sorted(ACTIONS)))
    def act(self, name):
        # The self-test guest has no handler for an NMI and dies of one.
        if name == "vm.nmi" and self.state in ("Running", "Paused"):
            return
        status, _ = self.put(name)
        expected = ACTIONS[name][self.state]
        assert status == expected, f"{name} in state {self.state} answered {status}, not {expected}"
        if status == 204:
            self.state = LEADS_TO.get(name, self.state)
            if self.state == "None":
                self.disks = {}
            if name in ("vm.shutdown", "vm.delete", "vm.reboot"):
                self.leaving = set()

    @rule(number=st.integers(0, 3))
    def add_disk(self, number):
        name = f"disk{number}"
        if name in self.leaving:
            return
        status, reply = self.put("vm.add-disk", {"id": name, "path": self.image(name), "image_type": "Raw"})
        done = 200 if self.is_on() else 204
        expected = 404 if self.state == "None" else 409 if name in self.disks else done
        assert status == expected, f"a disk {name} in state {self.state} was answered with {status}, not {expected}"
        if status in (200, 204):
            self.disks[name] = self.image(name)
        if status == 200:
            _, info = self.call("GET", "vm.info")
            assert reply["id"] == name and info["device_tree"][name]["pci_bdf"] == reply["bdf"]

    @rule(number=st.integers(0, 3), known=st.booleans())
    def remove_device(self, number, known):
        name = f"disk{number}" if known else f"nothing{number}"
        if name in self.leaving:
            return
        status, _ = self.put("vm.remove-device", {"id": name})
        expected = 204 if name in self.disks else 404
        assert status == expected, f"removing {name} in state {self.state} answered {status}, not {expected}"
        if status == 204:
            del self.disks[name]
            if self.is_on():
                # This guest speaks to no device: it holds on to what it has until its life is over.
                self.leaving.add(name)

    def is_on(self):
        return self.state in ("Running", "Paused")

    @invariant()
    def info_agrees(self):
        status, info = self.call("GET", "vm.info")
        assert status == (404 if self.state == "None" else 200)
        if status == 200:
            assert info["state"] == self.state
            disks = info["config"].get("disks", [])
            assert {disk["id"]: disk["path"] for disk in disks} == self.disks
            tree = info.get("device_tree", {})
            assert {name for name, node in tree.items() if "pending_removal" in node} == self.leaving
            assert self.is_on() == bool(tree)
            places = [node["pci_bdf"] for node in tree.values() if "parent" in node]
            assert len(places) == len(set(places)), f"two devices at one place: {places}"
        assert self.call("GET", "vmm.ping")[0] == 200

    def image(self, name):
        path = os.path.join(self.server.directory, name + ".raw")
        if not os.path.exists(path):
            with open(path, "wb") as file:
                file.truncate(1 << 20)
        return path


def run(server, document, lives):
    """Runs lives of up to 30 steps each."""
    Life.server, Life.replies = server, Replies(document)
    run_state_machine_as_test(
        Life, settings=settings(
            max_examples=lives, stateful_step_count=30, deadline=None, derandomize=True, database=None,
            phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck)))
