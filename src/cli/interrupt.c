/* Ctrl-C, a closed terminal and a polite kill: the handler sets a flag and cancels
 * the evaluation (which only sets a flag too), so that whoever works can clear up;
 * the second time the default action ends the program, so that a hanging read or
 * write never traps the user. But a signal often comes twice for one event: a terminal
 * that closes tells the process group and the shell then tells its jobs, timeout(1)
 * tells its child and then the group, whatever the signal is. So one counts again only
 * after a second, and SIGINT, which a hand may repeat in anger, after a tenth of one. */
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "cli/command.h"

static _Atomic(tern_session *) watched;
static volatile sig_atomic_t interrupted; /* the signal's number */
static struct timespec interrupted_at;    /* only the handler reads it, and it is not entered twice at a time */

static bool same_event(int signal_number) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t ns = (now.tv_sec - interrupted_at.tv_sec) * (int64_t)1000000000 + (now.tv_nsec - interrupted_at.tv_nsec);
    return signal_number == interrupted && ns < (signal_number == SIGINT ? 100000000 : 1000000000);
}

static void on_interrupt(int signal_number) {
    if (interrupted && same_event(signal_number))
        return;
    if (interrupted) {
        signal(signal_number, SIG_DFL);
        raise(signal_number);
        return;
    }
    interrupted = signal_number;
    clock_gettime(CLOCK_MONOTONIC, &interrupted_at);
    tern_session *session = atomic_load(&watched);
    if (session)
        tern_session_cancel(session);
}

/* What they did when the program began: a shell starts background jobs with SIGINT ignored, nohup ignores SIGHUP, and
 * so it stays then. */
static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
enum { N_SIGNALS = sizeof signals / sizeof *signals };
static struct sigaction originals[N_SIGNALS];
static bool has_original[N_SIGNALS];

void tern_interrupt_watch(tern_session *session) {
    atomic_store(&watched, session);
    for (size_t i = 0; i < N_SIGNALS; i++) {
        if (!has_original[i])
            has_original[i] = sigaction(signals[i], NULL, &originals[i]) == 0;
        if (has_original[i] && originals[i].sa_handler == SIG_IGN)
            continue;
        struct sigaction action = {.sa_handler = on_interrupt}; /* no SA_RESTART: a blocked read ends with EINTR */
        sigemptyset(&action.sa_mask);
        for (size_t j = 0; j < N_SIGNALS; j++)
            sigaddset(&action.sa_mask, signals[j]);
        sigaction(signals[i], &action, NULL);
    }
}

void tern_interrupt_unwatch(void) {
    atomic_store(&watched, NULL);
    for (size_t i = 0; i < N_SIGNALS; i++)
        if (has_original[i])
            sigaction(signals[i], &originals[i], NULL);
}

bool tern_interrupted(void) { return interrupted != 0; }

bool tern_interrupt_ends(void) { return interrupted && interrupted != SIGINT; }

int tern_interrupt_status(void) { return 128 + (interrupted ? interrupted : SIGINT); }

void tern_interrupt_clear(void) {
    if (interrupted == SIGINT)
        interrupted = 0;
}
