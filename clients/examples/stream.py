#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Stream a completion with an ordinary D-Bus library (Debian: python3-dbus-next)."""
import asyncio
import sys
from dbus_next import Message, Variant
from dbus_next.aio import MessageBus

NAME, PATH = "org.inkling.Inkling1", "/org/inkling/Inkling1"

async def main(prompt):
    bus, done = await MessageBus().connect(), asyncio.get_running_loop().create_future()
    def on_message(m):  # signals of our own requests only; nobody else's ever come
        if m.member == "Delta":
            print(m.body[1], end="", flush=True)
        elif m.member == "Finished":
            done.set_result(m.body[1])
    bus.add_message_handler(on_message)
    reply = await bus.call(Message(NAME, PATH, NAME + ".Text", "Start", signature="sa{sv}a{sv}", body=[
        "complete", {"prompt": Variant("s", prompt)}, {"stream": Variant("s", "delta")}]))
    if reply.error_name:
        sys.exit(reply.body[0])
    print(f"\n[{(await done)['output-tokens'].value} tokens]")

asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "Once upon a time"))
