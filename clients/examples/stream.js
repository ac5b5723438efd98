#!/usr/bin/gjs
// SPDX-License-Identifier: Apache-2.0
// Stream a chat answer in GJS, as a GNOME application or Shell extension would.
const {Gio, GLib} = imports.gi;

const out = new Gio.UnixOutputStream({fd: 1, close_fd: false});
const write = text => out.write_all(new TextEncoder().encode(text), null);

const NAME = 'org.inkling.Inkling1', PATH = '/org/inkling/Inkling1';
const loop = GLib.MainLoop.new(null, false);
const bus = Gio.DBus.session;
let status = 0;

// Subscribe before the call: signals of our own requests only, nobody else's ever come.
bus.signal_subscribe(NAME, `${NAME}.Request`, null, null, null, Gio.DBusSignalFlags.NONE,
    (_bus, _sender, _path, _iface, signal, parameters) => {
        if (signal === 'Delta') {
            write(parameters.deepUnpack()[1]);
        } else if (signal === 'Finished') {
            const [code, results] = parameters.recursiveUnpack();
            write(code === 0 ? `\n[${results['output-tokens']} tokens]\n` : `${results['error-message']}\n`);
            status = code;
            loop.quit();
        }
    });

const messages = new GLib.Variant('a(ss)', [['user', ARGV[0] ?? 'Say hello.']]);
bus.call(NAME, PATH, `${NAME}.Text`, 'Start',
    new GLib.Variant('(sa{sv}a{sv})', ['chat', {messages}, {
        'stream': GLib.Variant.new_string('delta'),
        'max-tokens': GLib.Variant.new_uint32(32),
    }]),
    new GLib.VariantType('(o)'), Gio.DBusCallFlags.NONE, -1, null,
    (_bus, result) => {
        try {
            bus.call_finish(result);
        } catch (error) {
            printerr(error.message);
            status = 1;
            loop.quit();
        }
    });
loop.run();
imports.system.exit(status);
