/*
 * Out of memory: the n-th allocation of a scenario fails, for n = 1, 2, 3, ..., until a whole run gets through. Each
 * time there has to be an error with a message, nothing may leak (the sanitizer build looks), and it has to work
 * afterwards.
 *
 * The linker's --wrap puts the functions of failing.c in front of the C library's for libtern's own calls; jansson's
 * come by way of the guard that its callers put it under (base/guard.h). PCRE2's allocations are not reached.
 */
#ifndef TERN_TESTS_FAULT_FAILING_H
#define TERN_TESTS_FAULT_FAILING_H

#include "tern/tern.h"

typedef tern_status tern_fault_scenario(const char *path, tern_error *err);

/* Count allocations from 0 again; allocation n fails, -1: none. */
void tern_fault_arm(long n);
long tern_fault_count(void);  /* allocations since then */
bool tern_fault_disarm(void); /* none fails from now on; whether allocation n came */

/* 0 if every failure of one allocation of the scenario is handled; of at most about `most` of them, from the first to
 * the last (0, or with TERN_FAULT_STEP=1: of all). */
int tern_fault_run(tern_fault_scenario *scenario, const char *path, long most);

#endif
