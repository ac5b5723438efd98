/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "ipc/bus-errors.h"

#include <string.h>

#include "ipc/names.h"

/* The first row of a code is the name that the service sends; further rows are read only. */
static const struct {
    int code;
    const char *name;
} names[] = {
    {EINVAL, SD_BUS_ERROR_INVALID_ARGS},
    {E2BIG, SD_BUS_ERROR_LIMITS_EXCEEDED},
    {EACCES, SD_BUS_ERROR_ACCESS_DENIED},
    {ENXIO, SD_BUS_ERROR_UNKNOWN_OBJECT},
    {EOPNOTSUPP, SD_BUS_ERROR_NOT_SUPPORTED},
    {ETIME, SD_BUS_ERROR_TIMEOUT},
    {EEXIST, SD_BUS_ERROR_FILE_EXISTS},
    {EMSGSIZE, INK_BUS_ERROR_PREFIX "ContextOverflow"},
    {EBADMSG, INK_BUS_ERROR_PREFIX "ModelInvalid"},
    {ENODEV, INK_BUS_ERROR_PREFIX "NoModel"},
    {ENOENT, INK_BUS_ERROR_PREFIX "NoSuchModel"},
    {ENOMSG, INK_BUS_ERROR_PREFIX "NoSuchItem"},
    {EBUSY, INK_BUS_ERROR_PREFIX "Busy"},
    {EALREADY, INK_BUS_ERROR_PREFIX "SessionBusy"},
    {EDQUOT, INK_BUS_ERROR_PREFIX "QuotaExceeded"},
    {ECANCELED, INK_BUS_ERROR_PREFIX "Cancelled"},
    {ECANCELED, INK_BUS_ERROR_SUPERSEDED},
    {EIO, INK_BUS_ERROR_PREFIX "StorageFailed"},
    {EREMOTEIO, INK_BUS_ERROR_PREFIX "WorkerFailed"},
    {EPROTO, INK_BUS_ERROR_PREFIX "WorkerFailed"},
    {ENOMEM, INK_BUS_ERROR_PREFIX "MemoryPressure"},
    {ESHUTDOWN, INK_BUS_ERROR_PREFIX "ShuttingDown"},
    /* Names of the bus itself, which the client library meets. */
    {EHOSTUNREACH, SD_BUS_ERROR_SERVICE_UNKNOWN},
    {EHOSTUNREACH, SD_BUS_ERROR_NAME_HAS_NO_OWNER},
    {EHOSTUNREACH, "org.freedesktop.DBus.Error.Spawn.ExecFailed"},
    {EHOSTUNREACH, "org.freedesktop.DBus.Error.Spawn.ChildExited"},
    {EHOSTUNREACH, "org.freedesktop.DBus.Error.Spawn.ChildSignaled"},
    {EHOSTUNREACH, "org.freedesktop.DBus.Error.Spawn.Failed"},
    {EHOSTUNREACH, "org.freedesktop.DBus.Error.Spawn.FileInvalid"},
    {EHOSTUNREACH, "org.freedesktop.DBus.Error.Spawn.ServiceNotValid"},
    {EHOSTUNREACH, "org.freedesktop.DBus.Error.Spawn.ServiceNotFound"},
    {EHOSTUNREACH, "org.freedesktop.systemd1.NoSuchUnit"},
    {EPIPE, SD_BUS_ERROR_NO_REPLY},
    {ENOTCONN, SD_BUS_ERROR_DISCONNECTED},
    {EOPNOTSUPP, SD_BUS_ERROR_UNKNOWN_METHOD},
    {EOPNOTSUPP, SD_BUS_ERROR_UNKNOWN_INTERFACE},
    {EOPNOTSUPP, SD_BUS_ERROR_UNKNOWN_PROPERTY},
    {EINVAL, SD_BUS_ERROR_INVALID_SIGNATURE},
    {EACCES, SD_BUS_ERROR_PROPERTY_READ_ONLY},
};

const char *ink_bus_error_name(int code)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].code == code)
            return names[i].name;
    return SD_BUS_ERROR_FAILED;
}

int ink_bus_error_code(const char *name)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i].name, name) == 0)
            return names[i].code;
    return EIO;
}

int ink_bus_error_set(sd_bus_error *reterr, const InkError *error)
{
    int code = error->code > 0 ? error->code : EIO;
    /* sd_bus_error_set() gives an errno of its own, which the handler must not return. */
    (void)sd_bus_error_set(reterr, ink_bus_error_name(code), error->message);
    return -code;
}

void ink_bus_reply_error(sd_bus_message *call, const InkError *error)
{
    int code = error->code > 0 ? error->code : EIO;
    (void)sd_bus_reply_method_errorf(call, ink_bus_error_name(code), "%s", error->message);
}
