#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Stream a completion with an ordinary D-Bus library (Debian: python3-dbus-next)."""
import asyncio
import sys

from dbus_next import Message, Variant
from dbus_next.aio import MessageBus

NAME, PATH = "org.inkling.Inkling1", "/org/inkling/Inkling1"


async def main(prompt):
    bus = await MessageBus().connect()
    done = asyncio.get_running_loop().create_future()

    def on_message(m):  # signals of our own requests; nobody else's ever come
        if m.member == "Delta":
            print(m.body[1], end="", flush=True)
        elif m.member == "Finished" and not done.done():
            done.set_result(m.body)

    bus.add_message_handler(on_message)
    options = {"stream": Variant("s", "delta"), "max-tokens": Variant("u", 48)}
    reply = await bus.call(Message(NAME, PATH, NAME + ".Text", "Start", signature="sa{sv}a{sv}",
                                   body=["complete", {"prompt": Variant("s", prompt)}, options]))
    if reply.error_name:
        sys.exit(f"{reply.error_name}: {reply.body[0]}")
    status, results = await done
    print(f"\n[{results['output-tokens'].value} tokens, {results['finish-reason'].value}]")
    return status

sys.exit(asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "Once upon a time")))
