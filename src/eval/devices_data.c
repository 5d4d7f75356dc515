/* The table of devices that is part of the program. */
#include "eval/devices.h"

/*
 * data/devices.json, copied by the assembler as in src/model/demo.c (which says why). TERN_DEVICES_PATH comes from
 * cmake/targets.cmake, which also rebuilds this file when the table changes.
 */
#if defined(__APPLE__)
#define SYMBOL(name) "_" #name
#define SECTION_BEGIN ".const_data\n"
#define SECTION_END ".text\n"
#define LOCAL(name) ".private_extern " SYMBOL(name) "\n.globl " SYMBOL(name) "\n"
#else
#define SYMBOL(name) #name
#define SECTION_BEGIN ".pushsection .rodata\n"
#define SECTION_END ".popsection\n"
#define LOCAL(name) ".globl " SYMBOL(name) "\n.hidden " SYMBOL(name) "\n.type " SYMBOL(name) ", %object\n"
#endif

/* clang-format off */
__asm__(SECTION_BEGIN
        LOCAL(tern_devices_text)
        LOCAL(tern_devices_text_end)
        SYMBOL(tern_devices_text) ":\n"
        ".incbin \"" TERN_DEVICES_PATH "\"\n"
        SYMBOL(tern_devices_text_end) ":\n"
        ".byte 0\n"
        SECTION_END);
/* clang-format on */

extern const char tern_devices_text[], tern_devices_text_end[];

tern_status tern_devices_builtin(tern_device_table *table, tern_error *err) {
    *table = (tern_device_table){0};
    return tern_devices_add(table, tern_devices_text, (size_t)(tern_devices_text_end - tern_devices_text),
                            "the table of devices", err);
}
