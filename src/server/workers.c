#include "server/workers.h"

#include <string.h>

static void *work(void *user) {
    tern_lane *lane = user;
    pthread_mutex_lock(&lane->mutex);
    while (lane->first || lane->open) {
        tern_work *next = lane->first;
        if (!next) {
            pthread_cond_wait(&lane->changed, &lane->mutex);
            continue;
        }
        lane->first = next->next;
        pthread_mutex_unlock(&lane->mutex);
        next->run(next);
        pthread_mutex_lock(&lane->mutex);
    }
    pthread_mutex_unlock(&lane->mutex);
    return NULL;
}

static tern_status start(tern_lane *lane, tern_error *err) {
    lane->has_mutex = pthread_mutex_init(&lane->mutex, NULL) == 0;
    lane->has_condition = lane->has_mutex && pthread_cond_init(&lane->changed, NULL) == 0;
    if (!lane->has_condition)
        return tern_fail_memory(err, "the server's workers");
    lane->open = true;
    int code = pthread_create(&lane->thread, NULL, work, lane);
    if (code) {
        lane->open = false;
        return tern_fail(err, TERN_ERR_MEMORY, "cannot start a thread for requests: %s", strerror(code));
    }
    lane->has_thread = true;
    return TERN_OK;
}

tern_status tern_workers_start(tern_workers *workers, tern_error *err) {
    tern_status status = TERN_OK;
    for (int i = 0; i < TERN_N_LANES && !status; i++)
        status = start(&workers->lanes[i], err);
    return status;
}

bool tern_workers_add(tern_workers *workers, int lane_number, tern_work *added) {
    tern_lane *lane = &workers->lanes[lane_number];
    if (!lane->has_condition)
        return false;
    pthread_mutex_lock(&lane->mutex);
    bool open = lane->open;
    if (open) {
        added->next = NULL;
        if (lane->first)
            lane->last->next = added;
        else
            lane->first = added;
        lane->last = added;
        pthread_cond_signal(&lane->changed);
    }
    pthread_mutex_unlock(&lane->mutex);
    return open;
}

void tern_workers_stop(tern_workers *workers) {
    for (int i = 0; i < TERN_N_LANES; i++) {
        tern_lane *lane = &workers->lanes[i];
        if (!lane->has_thread)
            continue;
        pthread_mutex_lock(&lane->mutex);
        lane->open = false;
        pthread_cond_signal(&lane->changed);
        pthread_mutex_unlock(&lane->mutex);
        pthread_join(lane->thread, NULL);
        lane->has_thread = false;
    }
}

void tern_workers_free(tern_workers *workers) {
    tern_workers_stop(workers);
    for (int i = 0; i < TERN_N_LANES; i++) {
        tern_lane *lane = &workers->lanes[i];
        if (lane->has_condition)
            pthread_cond_destroy(&lane->changed);
        if (lane->has_mutex)
            pthread_mutex_destroy(&lane->mutex);
        lane->has_condition = lane->has_mutex = false;
    }
}
