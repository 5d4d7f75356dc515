/* The help pages, made from the tables. */
#ifndef TERN_CLI_HELP_H
#define TERN_CLI_HELP_H

#include <stdio.h>

#include "cli/command.h"

void tern_help_overview(FILE *file);
/* Whether there are commands of two words that begin with `name` ("train"); the page that lists them. */
bool tern_help_is_group(const char *name);
void tern_help_group(FILE *file, const char *name);
void tern_help_command(FILE *file, const tern_command *command);
/* For the completions and the test of the man page: one option a line, as
 * "--long|-s|kind|choice choice ...", fields separated by tabs ("-" for no letter or no choices). */
void tern_help_list_options(FILE *file, const tern_command *command);

#endif
