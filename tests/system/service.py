# SPDX-License-Identifier: Apache-2.0
"""A private bus, a private home and the real programs of the build tree: what the system tests run on.
Nothing here touches the user's bus, home or runtime directory."""
import asyncio
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from dbus_next import BusType, Message, MessageType, Variant  # noqa: F401 (tests use them from here)
from dbus_next.aio import MessageBus

NAME, PATH = "org.inkling.Inkling1", "/org/inkling/Inkling1"
SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("INKLING_BUILD_DIR") or SOURCE / "build").resolve()
FULL = os.environ.get("INKLING_TEST_FULL") == "1"
SANITIZED = os.environ.get("INKLING_SANITIZED") == "1"
# Greedy, the default model counts on for thousands of tokens: an answer that does not end by itself.
COUNTING = "1, 2, 3, 4, 5, 6, 7,"
MODEL_NAME = "smollm2-135m-instruct-q4_1"


def model_file(variable="INKLING_TEST_MODEL", name=MODEL_NAME):
    given = os.environ.get(variable)
    data = pathlib.Path(os.environ.get("XDG_DATA_HOME") or pathlib.Path.home() / ".local/share")
    path = pathlib.Path(given) if given else data / "inkling/models" / (name + ".gguf")
    if not path.exists():
        if os.environ.get("CI"):
            raise AssertionError(f"a model is missing: {path}")
        raise unittest.SkipTest(f"a model is missing: {path}")
    return path


def gemma_file():
    return model_file("INKLING_TEST_MODEL_GEMMA", "gemma-3-270m-q4_k_m")


def programs():
    return {"daemon": BUILD / "daemon/inklingd", "worker": BUILD / "engine/worker/inkling-worker",
            "inkling": BUILD / "clients/inkling", "eval": BUILD / "engine/tools/inkling-eval"}


class Service:
    """One private world. `exec_prefix` goes before the daemon in the activation file (strace, ...). The model is a
    hard link to the real one unless `copy_model`: a test that changes the file needs that."""

    def __init__(self, model=True, exec_prefix="", model_path=None, config=None, daemon_args="", extra_env=None,
                 copy_model=False):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="inkling-test-"))
        self.root.chmod(0o700)
        for name in ("run/dbus-1/services", "home", "data/inkling/models", "config/inkling"):
            (self.root / name).mkdir(parents=True, mode=0o700)
        for folder in ("run", "data", "data/inkling", "data/inkling/models"):
            (self.root / folder).chmod(0o700)
        self.models = self.root / "data/inkling/models"
        if model:
            source = model_path or model_file()
            try:
                if copy_model:
                    raise OSError
                os.link(source, self.models / (MODEL_NAME + ".gguf"))
            except OSError:
                shutil.copy(source, self.models / (MODEL_NAME + ".gguf"))
        if config:
            (self.root / "config/inkling/inkling.conf").write_text(config)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "DBUS_"))}
        self.env.update(
            HOME=str(self.root / "home"), XDG_RUNTIME_DIR=str(self.root / "run"),
            XDG_DATA_HOME=str(self.root / "data"), XDG_CACHE_HOME=str(self.root / "cache"),
            XDG_CONFIG_HOME=str(self.root / "config"), LC_ALL="C.UTF-8",
            DBUS_SESSION_BUS_ADDRESS=f"unix:path={self.root}/run/bus", **(extra_env or {}))
        self.address = self.env["DBUS_SESSION_BUS_ADDRESS"]
        p = programs()
        self.log = self.root / "log"
        wrapper = self.root / "start"
        wrapper.write_text(f"#!/bin/sh\nexec {exec_prefix} {p['daemon']} --worker={p['worker']} "
                           f"{daemon_args} 2>>{self.log}\n")
        wrapper.chmod(0o700)
        (self.root / "run/dbus-1/services/org.inkling.Inkling1.service").write_text(
            f"[D-BUS Service]\nName={NAME}\nExec={wrapper}\n")
        self.bus_process = None
        self.start_bus()

    def start_bus(self):
        if self.bus_process:
            self.bus_process.wait()
            self.bus_process.stdout.close()
        (self.root / "run/bus").unlink(missing_ok=True)
        self.bus_process = subprocess.Popen(
            ["dbus-daemon", "--session", "--nofork", "--print-address", f"--address={self.address}"],
            env=self.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.bus_process.stdout.readline()

    def close(self):
        pid = self.daemon_pid()
        if pid:
            os.kill(pid, signal.SIGTERM)
            self.wait_for(lambda: not alive(pid), 5)
        self.bus_process.kill()
        self.bus_process.wait()
        self.bus_process.stdout.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @staticmethod
    def wait_for(condition, seconds=10):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = condition()
            if value:
                return value
            time.sleep(0.01)
        return condition()

    # ------------------------------------------------------------ processes
    def busctl(self, *args, check=True, timeout=60):
        r = subprocess.run(["busctl", "--user", "--timeout=50", *map(str, args)], env=self.env,
                           capture_output=True, text=True, timeout=timeout)
        if check and r.returncode != 0:
            raise AssertionError(f"busctl {args}: {r.stderr}{self.log_text()}")
        return r

    def inkling(self, *args, timeout=60, **kwargs):
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run([programs()["inkling"], *map(str, args)], env=self.env,
                              capture_output=True, text=True, timeout=timeout, **kwargs)

    def daemon_pid(self):
        r = self.busctl("call", "org.freedesktop.DBus", "/org/freedesktop/DBus",
                        "org.freedesktop.DBus", "GetConnectionUnixProcessID", "s", NAME, check=False)
        return int(r.stdout.split()[1]) if r.returncode == 0 else None

    def worker_pid(self):
        daemon = self.daemon_pid()
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text()
                    name, parent = stat[stat.index("(") + 1:stat.rindex(")")], int(stat.rsplit(")", 1)[1].split()[1])
                except (OSError, ValueError):
                    continue
                if parent == daemon and name == "inkling-worker":
                    return int(entry.name)
        return None

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def property(self, interface, name):
        r = self.busctl("--json=short", "get-property", NAME, PATH, f"{NAME}.{interface}", name)
        return json.loads(r.stdout)["data"]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


class Error(Exception):
    def __init__(self, reply):
        self.name = reply.error_name
        self.message = reply.body[0] if reply.body else ""
        super().__init__(f"{self.name}: {self.message}")


class Client:
    """A connection of its own; use as `async with`."""

    def __init__(self, service):
        self.address = service.address
        self.signals = []

    async def __aenter__(self):
        self.bus = await MessageBus(bus_address=self.address, negotiate_unix_fd=True).connect()
        self.bus.add_message_handler(self._remember)
        return self

    async def __aexit__(self, *_):
        self.bus.disconnect()

    def _remember(self, message):
        if message.message_type == MessageType.SIGNAL and message.path.startswith(PATH + "/request"):
            self.signals.append((message.path, message.member, message.body))

    async def call(self, interface, member, signature="", body=(), path=PATH, timeout=60):
        reply = await asyncio.wait_for(self.bus.call(Message(
            destination=NAME, path=path, interface=f"{NAME}.{interface}", member=member,
            signature=signature, body=list(body))), timeout)
        if reply.message_type == MessageType.ERROR:
            raise Error(reply)
        self.fds = reply.unix_fds
        return reply.body

    async def start(self, prompt, options=None, **keys):
        options = {**typed(keys), **(options or {})}
        return (await self.call("Text", "Start", "sa{sv}a{sv}",
                                ["complete", {"prompt": Variant("s", prompt)}, options]))[0]

    async def start_pipe(self, prompt, **keys):
        body = await self.call("Text", "StartPipe", "sa{sv}a{sv}",
                               ["complete", {"prompt": Variant("s", prompt)}, typed(keys)])
        return body[0], self.fds[body[1]]

    async def wait(self, path, timeout=60):
        status, results = await self.call("Request", "Wait", path=path, timeout=timeout)
        return status, {k: v.value for k, v in results.items()}


TYPES = {"max-tokens": "u", "max-lines": "u", "top-k": "u", "temperature": "d", "seed": "t",
         "stream": "s", "stop": "as", "deadline-usec": "t", "supersede-key": "s", "priority": "s",
         "coalesce-usec": "t", "linger-usec": "t", "handle-token": "s"}


def typed(keys):
    out = {}
    for key, value in keys.items():
        key = key.replace("_", "-")
        out[key] = Variant(TYPES[key], value)
    return out


def run(coroutine):
    return asyncio.run(coroutine)
