/* The table of devices that is part of the program. */
#include "base/embed.h"
#include "eval/devices.h"

/* TERN_DEVICES_PATH, data/devices.json, comes from cmake/targets.cmake, which also rebuilds this file when the table
 * changes. */
TERN_EMBED(tern_devices_text, TERN_DEVICES_PATH);

tern_status tern_devices_builtin(tern_device_table *table, tern_error *err) {
    *table = (tern_device_table){0};
    return tern_devices_add(table, (const char *)tern_devices_text, (size_t)(tern_devices_text_end - tern_devices_text),
                            "the table of devices", err);
}
