#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Your first app: one blocking call with GLib's own D-Bus (Debian: python3-gi). stream.py shows tokens as they come."""
import sys
from gi.repository import Gio, GLib

bus = Gio.bus_get_sync(Gio.BusType.SESSION)
try:
    text, result = bus.call_sync(
        "org.inkling.Inkling1", "/org/inkling/Inkling1", "org.inkling.Inkling1.Text", "Complete",
        GLib.Variant("(sa{sv})", (sys.argv[1] if len(sys.argv) > 1 else "Once upon a time",
                                  {"max-tokens": GLib.Variant("u", 32)})),
        GLib.VariantType("(sa{sv})"), Gio.DBusCallFlags.NONE, 25000, None).unpack()
except GLib.Error as error:
    sys.exit(error.message)
print(text, f"[{result['output-tokens']} tokens]", sep="\n")
