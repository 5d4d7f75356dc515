/* Files of code that are loaded when they are needed, for their libraries would otherwise come with every start of the
 * command. */
#ifndef TERN_BASE_MODULE_H
#define TERN_BASE_MODULE_H

#include <stdbool.h>

enum { TERN_MODULE_PATH = 1024 };

/* Where `name`, "tern_curl.so", is: beside the executable (in the build folder), else in the folder of libraries that
 * belongs to the executable's own. False: in neither, or the system does not tell where the executable is. */
bool tern_module_find(const char *name, char path[static TERN_MODULE_PATH]);

#endif
