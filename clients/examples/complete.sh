#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A completion from a shell, with systemd's busctl and nothing of inkling's.
busctl --user --json=short call org.inkling.Inkling1 /org/inkling/Inkling1 \
    org.inkling.Inkling1.Text Complete 'sa{sv}' "${1:-Once upon a time}" 1 max-tokens u 32 |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["data"][0])'
