/* The task files that are part of the program. */
#include "eval/task.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"

/*
 * data/tasks/ one after the other, copied by the assembler as in src/model/demo.c (which says why). The list of
 * .incbin lines is written by cmake/targets.cmake, which also rebuilds this file when one of them changes.
 */
#include TERN_TASKS_LIST

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
        LOCAL(tern_tasks_text)
        LOCAL(tern_tasks_text_end)
        SYMBOL(tern_tasks_text) ":\n"
        TERN_TASKS_INCBIN
        SYMBOL(tern_tasks_text_end) ":\n"
        ".byte 0\n"
        SECTION_END);
/* clang-format on */

extern const char tern_tasks_text[], tern_tasks_text_end[];

static int by_name(const void *a, const void *b) {
    return strcmp(((const tern_task *)a)->name, ((const tern_task *)b)->name);
}

tern_status tern_tasks_builtin(tern_task **tasks, size_t *n_tasks, tern_error *err) {
    const char *at = tern_tasks_text;
    tern_task *made = NULL;
    size_t n = 0, capacity = 0;
    tern_status status = TERN_OK;
    for (;;) {
        json_error_t where;
        while (at < tern_tasks_text_end && strchr(" \n", *at))
            at++;
        if (at == tern_tasks_text_end || status)
            break;
        json_t *root =
            json_loadb(at, (size_t)(tern_tasks_text_end - at), JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES, &where);
        if (!root)
            status =
                tern_fail(err, TERN_ERR_FORMAT, "data/tasks: task %zu: line %d: %s", n + 1, where.line, where.text);
        else if (!tern_grow_array((void **)&made, &capacity, n + 1, sizeof *made))
            json_decref(root), status = tern_fail_memory(err, "the tasks");
        else
            status = tern_task_parse(root, "data/tasks", &made[n], err);
        n += !status;
        at += where.position;
    }
    if (status) {
        tern_tasks_free(made, n);
        return status;
    }
    qsort(made, n, sizeof *made, by_name);
    *tasks = made;
    *n_tasks = n;
    return TERN_OK;
}
