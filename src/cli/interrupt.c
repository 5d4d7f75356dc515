/* Ctrl-C: the handler sets a flag and cancels the evaluation (which only sets a
 * flag too); the second time the default action ends the program, so that a
 * hanging read or write never traps the user. */
#include <signal.h>
#include <stdatomic.h>

#include "cli/command.h"

static _Atomic(tern_session *) watched;
static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number) {
    if (interrupted) {
        signal(signal_number, SIG_DFL);
        raise(signal_number);
        return;
    }
    interrupted = 1;
    tern_session *session = atomic_load(&watched);
    if (session)
        tern_session_cancel(session);
}

/* What SIGINT did when the program began: a shell starts background jobs with it ignored, and so it stays then. */
static struct sigaction original;
static bool has_original;

void tern_interrupt_watch(tern_session *session) {
    atomic_store(&watched, session);
    if (!has_original)
        has_original = sigaction(SIGINT, NULL, &original) == 0;
    if (has_original && original.sa_handler == SIG_IGN)
        return;
    struct sigaction action = {.sa_handler = on_interrupt}; /* no SA_RESTART: a blocked read ends with EINTR */
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

void tern_interrupt_unwatch(void) {
    atomic_store(&watched, NULL);
    if (has_original)
        sigaction(SIGINT, &original, NULL);
}

bool tern_interrupted(void) { return interrupted != 0; }

void tern_interrupt_clear(void) { interrupted = 0; }
