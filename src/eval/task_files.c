/* The task files that are part of the program. */
#include "eval/task.h"

#include <stdlib.h>
#include <string.h>

#include "base/embed.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/status.h"

/* data/tasks/ one after the other. The list of .incbin lines is written by cmake/targets.cmake, which also rebuilds
 * this file when one of them changes. */
#include TERN_TASKS_LIST
TERN_EMBED_FILES(tern_tasks_text, TERN_TASKS_INCBIN);

static int by_name(const void *a, const void *b) {
    return strcmp(((const tern_task *)a)->name, ((const tern_task *)b)->name);
}

tern_status tern_tasks_builtin(tern_task **tasks, size_t *n_tasks, tern_error *err) {
    const char *at = (const char *)tern_tasks_text, *end = (const char *)tern_tasks_text_end;
    tern_task *made = NULL;
    size_t n = 0, capacity = 0;
    tern_status status = TERN_OK;
    for (;;) {
        json_error_t where;
        while (at < end && strchr(" \n", *at))
            at++;
        if (at == end || status)
            break;
        json_t *root = tern_json_load(at, (size_t)(end - at), JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES, &where);
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
