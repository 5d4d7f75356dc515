/* The watcher: libmicrohttpd does not look at a connection whose request is being computed, so it would not see its
 * client leave; and it counts a client that sends a byte now and then as alive. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/epoll.h>
#endif

#include "base/clock.h"
#include "server/exchange.h"
#include "server/limits.h"
#include "server/progress.h"

tern_link *tern_link_open(tern_server *server, int fd) {
    tern_link *link = calloc(1, sizeof *link);
    if (!link)
        return NULL;
    link->fd = fd;
    link->since = tern_seconds();
    pthread_mutex_lock(&server->links_mutex);
    link->serial = ++server->next_serial;
    link->next = server->links;
    if (link->next)
        link->next->previous = link;
    server->links = link;
    server->n_links++;
    link->spare = server->n_links > server->config.max_connections;
    atomic_store(&server->metrics.connections, server->n_links);
    pthread_mutex_unlock(&server->links_mutex);
    return link;
}

void tern_link_close(tern_server *server, tern_link *link) {
    if (!link)
        return;
    pthread_mutex_lock(&server->links_mutex);
    if (link->previous)
        link->previous->next = link->next;
    else
        server->links = link->next;
    if (link->next)
        link->next->previous = link->previous;
    server->n_links--;
    atomic_store(&server->metrics.connections, server->n_links);
    pthread_mutex_unlock(&server->links_mutex);
    free(link);
}

bool tern_link_has_room(tern_server *server, tern_link *link) {
    if (!link)
        return false;
    pthread_mutex_lock(&server->links_mutex);
    link->spare &= server->n_links > server->config.max_connections;
    bool room = !link->spare;
    pthread_mutex_unlock(&server->links_mutex);
    return room;
}

/* A client that closes its side of the connection counts as gone, as with nginx: a closed socket and one whose client
 * would still read look the same until something is written. */
static void poll_link(tern_server *server, const tern_link *link, bool on) {
#if defined(__linux__)
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.u64 = link->serial};
    epoll_ctl(server->poll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, link->fd, &event);
#else
    (void)server, (void)link, (void)on; /* such a client is noticed when something is written */
#endif
}

void tern_link_set(tern_server *server, tern_link *link, int state, tern_exchange *exchange) {
    if (!link)
        return;
    pthread_mutex_lock(&server->links_mutex);
    if (!!exchange != !!link->exchange)
        poll_link(server, link, exchange);
    link->exchange = exchange;
    link->state = state;
    link->since = tern_seconds();
    pthread_mutex_unlock(&server->links_mutex);
}

void tern_links_lose_all(tern_server *server) {
    pthread_mutex_lock(&server->links_mutex);
    for (tern_link *link = server->links; link; link = link->next)
        if (link->exchange)
            tern_exchange_lose(link->exchange, true);
    pthread_mutex_unlock(&server->links_mutex);
}

static void client_left(tern_server *server, uint64_t serial) {
    pthread_mutex_lock(&server->links_mutex);
    tern_link *link = server->links;
    while (link && link->serial != serial)
        link = link->next;
    if (link && link->exchange)
        tern_exchange_lose(link->exchange, false);
    pthread_mutex_unlock(&server->links_mutex);
}

/* Its request did not arrive in time. The answer goes past libmicrohttpd, which is still reading. */
static void refuse_slow(const tern_link *link) {
    static const char body[] =
        "{\"error\":{\"message\":\"the request did not arrive in time\",\"type\":\"timeout_error\","
        "\"param\":null,\"code\":\"request_timeout\"}}";
    tern_buffer text = {0};
    tern_buffer_printf(&text,
                       "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nConnection: close\r\n"
                       "Content-Length: %zu\r\n\r\n%s",
                       sizeof body - 1, body);
    ssize_t sent = text.failed ? 0 : send(link->fd, text.bytes, text.size, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)sent; /* whoever does not read it misses nothing that matters */
    tern_buffer_free(&text);
}

static void check_deadlines(tern_server *server) {
    const tern_server_config *config = &server->config;
    double now = tern_seconds();
    pthread_mutex_lock(&server->links_mutex);
    for (tern_link *link = server->links; link; link = link->next) {
        double limit = config->read_timeout + (link->state == TERN_LINK_BUSY ? config->timeout : 0);
        if (link->shut || now - link->since < limit)
            continue;
        if (link->state == TERN_LINK_READING)
            refuse_slow(link);
        if (link->exchange)
            tern_exchange_lose(link->exchange, false);
        link->shut = true;
        shutdown(link->fd, SHUT_RDWR); /* libmicrohttpd, whose socket it is, sees the end and closes it */
    }
    pthread_mutex_unlock(&server->links_mutex);
}

static void wait_for_clients(tern_server *server) {
#if defined(__linux__)
    struct epoll_event events[64];
    int n = epoll_wait(server->poll_fd, events, 64, 1000);
    for (int i = 0; i < n; i++)
        client_left(server, events[i].data.u64);
#else
    usleep(250000);
    (void)server, (void)client_left;
#endif
}

/* Proxies and clients give up a connection on which nothing comes for long: a place in the queue would be lost, or what
 * was computed of a long prompt. */
static void ping_streams(tern_server *server) {
    pthread_mutex_lock(&server->links_mutex);
    for (tern_link *link = server->links; link; link = link->next)
        if (link->exchange)
            tern_exchange_ping(link->exchange, server->config.ping);
    pthread_mutex_unlock(&server->links_mutex);
}

static void check_progress(tern_server *server, tern_progress *progress) {
    tern_scheduler_stats stats;
    tern_scheduler_get_stats(server->scheduler, &stats);
    atomic_store(&server->stuck, tern_progress_is_stuck(progress, &stats, tern_seconds()));
}

static void *watch(void *user) {
    tern_server *server = user;
    tern_progress progress = {0};
    double checked = tern_seconds();
    while (!atomic_load(&server->stopping)) {
        wait_for_clients(server);
        if (tern_seconds() - checked >= 0.5) {
            check_deadlines(server);
            if (server->config.ping > 0)
                ping_streams(server);
            check_progress(server, &progress);
            checked = tern_seconds();
        }
    }
    return NULL;
}

tern_status tern_watch_start(tern_server *server, tern_error *err) {
#if defined(__linux__)
    server->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (server->poll_fd < 0)
        return tern_fail(err, TERN_ERR_IO, "cannot watch connections: %s", strerror(errno));
#endif
    int code = pthread_create(&server->watcher, NULL, watch, server);
    if (code)
        return tern_fail(err, TERN_ERR_MEMORY, "cannot start the watcher's thread: %s", strerror(code));
    server->has_watcher = true;
    return TERN_OK;
}

void tern_watch_stop(tern_server *server) {
    atomic_store(&server->stopping, true);
    if (server->has_watcher)
        pthread_join(server->watcher, NULL);
    server->has_watcher = false;
    if (server->poll_fd >= 0)
        close(server->poll_fd);
    server->poll_fd = -1;
}
