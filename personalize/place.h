/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Places and names out of paths and file: uris. Owns: results are the caller's.
 * Errors: NULL when memory is short. Thread: no state. */
#pragma once

/* One spelling of a directory: its path without trailing slash, from a path or a file: uri; "" for
 * everything else and for NULL. */
char *ink_place_of(const char *path_or_uri);
/* The last part of a path or uri, percent-decoded where that gives UTF-8. */
char *ink_place_name(const char *path_or_uri);
