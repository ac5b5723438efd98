#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every member of the installed interface, called through three D-Bus implementations on the real service.
A member without a case fails, and so does a case without a member: who adds one adds the other. Objects that
belong to a connection (requests, sessions, descriptors) are out of busctl's reach, which opens a new
connection for each call; the count says how many."""
import json
import os
import sys
import unittest
import xml.etree.ElementTree as ElementTree

from drivers import NAME, PATH, Busctl, DbusNext, Failed, Gdbus
from service import COUNTING, MODEL_NAME, SOURCE, Service, model_file

U = lambda v: ("u", v)  # noqa: E731
S = lambda v: ("s", v)  # noqa: E731
B = lambda v: ("b", v)  # noqa: E731
FEW = {"max-tokens": U(4), "temperature": ("d", 0.0)}
CASES = {}


def case(*members, needs_connection=False):
    """The function proves these members ("Interface.Member"); it gets the test and a driver."""
    def add(function):
        for member in members:
            assert member not in CASES, member
            CASES[member] = (function, needs_connection)
        return function
    return add


def members_of_xml():
    found = {}
    for interface in ElementTree.parse(SOURCE / "ipc/org.inkling.Inkling1.xml").getroot().iter("interface"):
        for child in interface:
            if child.tag in ("method", "signal", "property"):
                found[interface.get("name").rsplit(".", 1)[1] + "." + child.get("name")] = child
    return found


# ------------------------------------------------------------------------------ Manager

@case("Manager.Version", "Manager.ApiRevision", "Manager.Features", "Manager.State", "Manager.Model",
      "Manager.ContextWindow", "Manager.QueueDepth", "Manager.MemoryResident", "Manager.NetworkGuard")
def manager_properties(t, d):
    get = lambda name: d.get("Manager", name)  # noqa: E731
    t.assertRegex(get("Version"), r"^\d+\.\d+\.\d+$")
    t.assertGreaterEqual(get("ApiRevision"), 1)
    t.assertIn("pipe", get("Features"))
    t.assertIn(get("State"), ("ready", "idle", "loading"))
    t.assertEqual(get("Model"), MODEL_NAME)
    t.assertIn(get("ContextWindow"), (0, 8192))
    t.assertEqual(get("QueueDepth"), 0)
    t.assertGreater(get("MemoryResident"), 1 << 20)
    t.assertEqual(get("NetworkGuard"), "seccomp")


@case("Manager.GetAvailability")
def availability(t, d):
    state, details = d.call("Manager", "GetAvailability", "sa{sv}", ["text", {}])
    t.assertIn(state, ("available", "on-demand", "loading"))
    t.assertEqual(d.call("Manager", "GetAvailability", "sa{sv}", ["no-such", {}])[0], "unsupported")
    for word in d.get("Manager", "Features"):  # what is announced can be asked for
        t.assertNotEqual(d.call("Manager", "GetAvailability", "sa{sv}", [word, {}])[0], "unsupported", word)
    t.fails(d, "Manager", "GetAvailability", "sa{sv}", ["text", {"wibble": B(True)}], "InvalidArgs", "wibble")


@case("Manager.ListModels")
def list_models(t, d):
    row, = [m for m in d.call("Manager", "ListModels")[0] if m["name"] == MODEL_NAME]
    t.assertGreater(row["size"], 1 << 20)
    t.assertTrue(row["default"])


@case("Manager.Load", "Manager.Unload")
def load_and_unload(t, d):
    path = d.call("Manager", "Load", "sa{sv}", ["", {}])[0]
    t.assertTrue(path.startswith(PATH + "/request/"))
    if d.keeps_connection:
        t.assertEqual(d.call("Request", "Wait", path=path)[0], 0)
    t.fails(d, "Manager", "Load", "sa{sv}", ["no-such", {}], "NoSuchModel", "no installed model")
    d.call("Manager", "Unload", "a{sv}", [{"force": B(True)}])
    t.assertEqual(d.get("Manager", "State"), "idle")


@case("Manager.ListRequests", "Request.Cancel", "Request.Wait", "Request.State", "Request.QueuePosition",
      "Request.Priority", "Request.Progress", "Request.Delta", "Request.Finished", "Text.Start",
      needs_connection=True)
def requests(t, d):
    long = {**FEW, "max-tokens": U(4000), "stream": S("delta")}
    path = d.call("Text", "Start", "sa{sv}a{sv}", ["complete", {"prompt": S(COUNTING)}, long])[0]
    stage, fraction, _ = d.wait_signal(path, "Progress")
    t.assertIn(stage, ("queued", "loading", "prefill", "decode"))
    t.assertLessEqual(fraction, 1)
    offset, text, _ = d.wait_signal(path, "Delta")
    t.assertEqual(offset, 0)
    t.assertTrue(text)
    t.assertIn(path, [r["path"] for r in d.call("Manager", "ListRequests", "a{sv}", [{}])[0]])
    t.assertEqual(d.get("Request", "State", path), "running")
    t.assertEqual(d.get("Request", "QueuePosition", path), 0)
    t.assertEqual(d.get("Request", "Priority", path), "interactive")
    d.set("Request", "Priority", "s", "normal", path)
    t.assertEqual(d.get("Request", "Priority", path), "normal")
    d.call("Request", "Cancel", path=path)
    status, results = d.call("Request", "Wait", path=path)
    t.assertEqual((status, results["finish-reason"]), (1, "cancelled"))
    t.assertTrue(results["text"].startswith(text))
    t.assertEqual(d.wait_signal(path, "Finished"), [status, results] if d.name == "dbus-next" else (status, results))


@case("Manager.ProveOffline")
def prove_offline(t, d):
    d.call("Text", "CountTokens", "sa{sv}", ["a worker is there", {}])
    rows, = d.call("Manager", "ProveOffline", "a{sv}", [{}])
    t.assertEqual([r["process"] for r in rows], ["inklingd", "inkling-worker"])
    for row in rows:
        t.assertTrue(row["refused"])
        t.assertGreaterEqual(len(row["tries"]), 9)
        t.assertNotIn("open", [outcome for _, outcome in row["tries"]])


# --------------------------------------------------------------------------------- Text

@case("Text.Complete")
def complete(t, d):
    text, result = d.call("Text", "Complete", "sa{sv}", [COUNTING, {**FEW, "max-tokens": U(9)}])
    t.assertIn("8, 9, 10", text)
    t.assertEqual((result["finish-reason"], result["output-tokens"]), ("length", 9))
    t.fails(d, "Text", "Complete", "sa{sv}", ["", {}], "InvalidArgs", "empty")
    t.fails(d, "Text", "Complete", "sa{sv}", ["x", {"max-tokens": ("i", -3)}], "InvalidArgs", "max-tokens")


@case("Text.Chat")
def chat(t, d):
    text, result = d.call("Text", "Chat", "a(ss)a{sv}", [[("system", "Be brief."), ("user", "Hello")], FEW])
    t.assertTrue(text)
    t.assertGreater(result["prompt-tokens"], 5)
    t.fails(d, "Text", "Chat", "a(ss)a{sv}", [[("king", "x")], {}], "InvalidArgs", "role")


@case("Text.StartPipe", needs_connection=True)
def start_pipe(t, d):
    d.call("Text", "StartPipe", "sa{sv}a{sv}", ["complete", {"prompt": S(COUNTING)}, FEW])
    fd, = d.fds
    with os.fdopen(fd, "rb") as pipe:
        lines = [json.loads(x) for x in pipe]
    t.assertEqual("".join(x["text"] for x in lines if "text" in x)[:3], " 8,")
    t.assertEqual(lines[-1]["finished"]["output-tokens"], 4)


@case("Text.CountTokens", "Text.Tokenize", "Text.Detokenize")
def tokens(t, d):
    text = "Grüße, 3 cafés\n"
    count, = d.call("Text", "CountTokens", "sa{sv}", [text, {}])
    ids, = d.call("Text", "Tokenize", "sa{sv}", [text, {}])
    t.assertEqual(len(ids), count)
    t.assertGreater(d.call("Text", "CountTokens", "sa{sv}", [text, {"as": S("chat")}])[0], count)
    t.assertEqual(d.call("Text", "Detokenize", "aua{sv}", [ids, {}]), [text])
    t.fails(d, "Text", "Detokenize", "aua{sv}", [[4000000000], {}], "InvalidArgs", "")


# ----------------------------------------------------------- Recommendation and Memory

@case("Memory.Enabled", "Recommendation.Observe", "Recommendation.Suggest", "Recommendation.Feedback",
      "Recommendation.Kinds")
def recommendation(t, d):
    t.assertIn("command", d.get("Recommendation", "Kinds"))
    d.set("Memory", "Enabled", "b", True)
    t.assertIs(d.get("Memory", "Enabled"), True)
    event = {"kind": S("ran"), "text": S(f"make {d.name}")}
    t.assertEqual(d.call("Recommendation", "Observe", "aa{sv}a{sv}", [[event], {}]), [1])
    items, result = d.call("Recommendation", "Suggest", "sa{sv}a{sv}", ["command", {}, {"limit": U(3)}])
    item = next(i for i in items if i["text"] == f"make {d.name}")
    t.assertGreaterEqual(result["considered"], 1)
    d.call("Recommendation", "Feedback", "ssa{sv}", [item["id"], "accepted", {}])
    t.fails(d, "Recommendation", "Feedback", "ssa{sv}", ["no-such", "accepted", {}], "NoSuchItem", "")
    d.set("Memory", "Enabled", "b", False)
    t.assertIs(d.get("Memory", "Enabled"), False)


# -------------------------------------------------------------------------- permissions

@case("Manager.ListPermissions", "Manager.SetPermission")
def permissions(t, d):
    app = "org.example." + d.name.replace("-", "")
    d.call("Manager", "SetPermission", "sss", [app, "memory", "deny"])
    t.assertIn([app, "memory", "deny"], [list(r) for r in d.call("Manager", "ListPermissions")[0]])
    d.call("Manager", "SetPermission", "sss", [app, "memory", "reset"])
    t.assertNotIn([app, "memory", "deny"], [list(r) for r in d.call("Manager", "ListPermissions")[0]])
    t.fails(d, "Manager", "SetPermission", "sss", [app, "no-such", "deny"], "InvalidArgs", "permission")


# ------------------------------------------------------------------------------- models

@case("Manager.InspectModel")
def inspect_model(t, d):
    row, = d.call("Manager", "InspectModel", "sa{sv}", [MODEL_NAME, {}])
    t.assertEqual((row["architecture"], row["layers"], row["embedding-length"]), ("llama", 30, 576))
    t.assertEqual(row["vocabulary"], 49152)
    t.assertTrue(row["chat-template"])
    t.assertGreater(row["tensor-types"]["Q4_1"], 1 << 20)
    t.fails(d, "Manager", "InspectModel", "sa{sv}", ["no-such", {}], "NoSuchModel", "no installed model")


@case("Manager.ImportModel", "Manager.SetDefaultModel", "Manager.RemoveModel", needs_connection=True)
def manage_models(t, d):
    name = "imported-" + d.name.lower().replace("-", "")
    with open(model_file(), "rb") as f:
        path = d.call("Manager", "ImportModel", "sha{sv}", [name, f.fileno(), {}])[0]
        status, results = d.call("Request", "Wait", path=path)
    t.assertEqual(status, 0, results)
    t.assertIn(name, [m["name"] for m in d.call("Manager", "ListModels")[0]])
    d.call("Manager", "SetDefaultModel", "sa{sv}", [name, {}])
    t.assertEqual(d.get("Manager", "Model"), name)
    d.call("Manager", "SetDefaultModel", "sa{sv}", [MODEL_NAME, {"force": B(True)}])
    d.call("Manager", "RemoveModel", "sa{sv}", [name, {"force": B(True)}])
    t.assertNotIn(name, [m["name"] for m in d.call("Manager", "ListModels")[0]])
    t.fails(d, "Manager", "RemoveModel", "sa{sv}", [name, {}], "NoSuchModel", "no installed model")


@case("Manager.Reload")
def reload(t, d):
    d.call("Manager", "Reload")
    config = t.service.root / "config/inkling/inkling.conf"
    config.write_text("[service]\nwibble = 3\nresident = sometimes\n")
    try:
        t.fails(d, "Manager", "Reload", "", [], "InvalidArgs", "inkling.conf")
    finally:
        config.write_text("")
        d.call("Manager", "Reload")


# ----------------------------------------------------------------------------- sessions

@case("Manager.CreateSession", "Manager.ListSessions", "Session.Prompt", "Session.StartPrompt", "Session.Append",
      "Session.Prewarm", "Session.MeasureUsage", "Session.GetTranscript", "Session.Rewind", "Session.Clone",
      "Session.Close", "Session.Closed", "Session.AppId", "Session.Model", "Session.ContextWindow",
      "Session.ContextUsage", needs_connection=True)
def sessions(t, d):
    path = d.call("Manager", "CreateSession", "a{sv}", [{"system": S("Be brief.")}])[0]
    session = lambda member, signature="", values=(): d.call("Session", member, signature, values, path)  # noqa: E731
    t.assertIn(path, [s["path"] for s in d.call("Manager", "ListSessions", "a{sv}", [{}])[0]])
    session("Append", "a(ss)a{sv}", [[("user", "My name is Ada."), ("assistant", "Hello, Ada.")], {}])
    text, result = session("Prompt", "sa{sv}", ["What is my name?", FEW])
    t.assertTrue(text)
    t.assertGreater(session("MeasureUsage", "s", ["and more"])[0], 2)
    t.assertGreater(d.get("Session", "ContextUsage", path), result["prompt-tokens"])
    t.assertEqual(d.get("Session", "ContextWindow", path), 8192)
    t.assertEqual(d.get("Session", "Model", path), MODEL_NAME)
    t.assertTrue(d.get("Session", "AppId", path))
    warm = session("Prewarm", "sa{sv}", ["Once", {}])[0]
    t.assertEqual(d.call("Request", "Wait", path=warm)[0], 0)
    request = session("StartPrompt", "sa{sv}", ["Again?", FEW])[0]
    status, results = d.call("Request", "Wait", path=request)
    t.assertEqual(status, 0, results)
    t.assertGreater(results["cached-tokens"], 0)
    roles = [turn[0] for turn in session("GetTranscript")[0]]
    t.assertEqual(roles, ["system"] + ["user", "assistant"] * 3)
    clone = session("Clone", "a{sv}", [{}])[0]
    session("Rewind", "u", [0])
    t.assertEqual([turn[0] for turn in session("GetTranscript")[0]], ["system"])
    t.assertEqual(len(d.call("Session", "GetTranscript", path=clone)[0]), 7)
    session("Close")
    t.assertEqual(d.wait_signal(path, "Closed")[0], "closed")
    t.fails(d, "Session", "GetTranscript", "", [], "UnknownObject", "", path=path)


@case("Session.ContextOverflow", needs_connection=True)
def session_overflow(t, d):
    path = d.call("Manager", "CreateSession", "a{sv}", [{"context-limit": U(256), "overflow": S("drop-oldest")}])[0]
    for _ in range(6):
        d.call("Session", "Append", "a(ss)a{sv}", [[("user", "word " * 40), ("assistant", "Yes.")], {}], path)
    d.call("Session", "Prompt", "sa{sv}", ["Go on.", FEW], path)
    turns, n_tokens = d.wait_signal(path, "ContextOverflow")
    t.assertGreater(turns, 0)
    t.assertGreater(n_tokens, 40)


@case("Session.Forget", needs_connection=True)
def forget_session(t, d):
    options = {"persistent": B(True), "name": S("diary " + d.name)}
    path = d.call("Manager", "CreateSession", "a{sv}", [options])[0]
    d.call("Session", "Append", "a(ss)a{sv}", [[("user", "Dear diary"), ("assistant", "Yes?")], {}], path)
    d.call("Session", "Close", path=path)
    path = d.call("Manager", "CreateSession", "a{sv}", [options])[0]
    t.assertEqual(len(d.call("Session", "GetTranscript", path=path)[0]), 2)
    d.call("Session", "Forget", path=path)
    t.assertEqual(d.wait_signal(path, "Closed")[0], "forgotten")
    path = d.call("Manager", "CreateSession", "a{sv}", [options])[0]
    t.assertEqual(d.call("Session", "GetTranscript", path=path)[0], [])
    d.call("Session", "Forget", path=path)


class ConformanceTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = Service()
        cls.addClassCleanup(cls.service.close)

    def fails(self, d, interface, member, signature, values, name, words, path=PATH):
        with self.assertRaises(Failed) as caught:
            d.call(interface, member, signature, values, path)
        if d.name != "busctl":  # prints the message only
            self.assertTrue(caught.exception.name.endswith("." + name), caught.exception)
        self.assertIn(words, caught.exception.message)

    def test_every_member_has_a_case_and_every_case_a_member(self):
        self.assertEqual(sorted(set(members_of_xml()) ^ set(CASES)), [])

    def test_all_members_through_three_implementations(self):
        members = members_of_xml()
        counts = {}
        for driver in (Busctl, Gdbus, DbusNext):
            d = driver(self.service)
            try:
                done = set()
                for function, needs_connection in dict.fromkeys(CASES.values()):
                    proves = {m for m, c in CASES.items() if c[0] is function and m in members}
                    if not proves or (needs_connection and not d.keeps_connection):
                        continue
                    with self.subTest(client=d.name, case=function.__name__):
                        function(self, d)
                        done |= proves
                counts[d.name] = (len(done), len(members))
            finally:
                d.close()
        print("members: " + ", ".join(f"{name} {n} of {of}" for name, (n, of) in counts.items()), file=sys.stderr)
        self.assertEqual([n for name, (n, of) in counts.items() if name != "busctl" and n != of], [])


if __name__ == "__main__":
    unittest.main()
