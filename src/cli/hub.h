/* What the commands share that take models from the hub. */
#ifndef TERN_CLI_HUB_H
#define TERN_CLI_HUB_H

#include "cli/command.h"
#include "cli/progress.h"
#include "hub/hub.h"

/* What is drawn while the hub works. */
typedef struct tern_cli_transfer {
    tern_progress bar;
    const char *file; /* the bar is about; NULL: there is none */
    tern_hub_phase phase;
    char label[48];
} tern_cli_transfer;

/* A progress line and notes on stderr; `transfer` outlives the hub. */
void tern_cli_watch_hub(tern_hub_settings *settings, tern_cli_transfer *transfer);

/* Fetch what the plan misses -> *path, and say on stderr how that went. Ctrl-C ends it, and what has come stays. 0 or
 * the exit status. */
int tern_cli_pull(tern_hub *hub, tern_hub_plan *plan, tern_cli_transfer *transfer, char **path);

#endif
