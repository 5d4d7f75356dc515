/* The listening socket, and what its address says. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/exchange.h"

static struct addrinfo *look_up(const char *host, const char *port, int flags) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags}, *found;
    return getaddrinfo(host, port, &hints, &found) ? NULL : found;
}

static bool is_loopback(const struct sockaddr *address) {
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
    return address->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

bool tern_server_is_loopback(const char *host) {
    struct addrinfo *found = look_up(host, NULL, AI_PASSIVE);
    bool all = found;
    for (struct addrinfo *a = found; a; a = a->ai_next)
        all &= is_loopback(a->ai_addr);
    if (found)
        freeaddrinfo(found);
    return all;
}

/* A socket that listens there, or -1 with errno. */
static int open_listener(const struct addrinfo *address) {
    int on = 1, fd = socket(address->ai_family, SOCK_STREAM, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* else a restart waits for old connections */
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0 &&
        bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, 511) == 0)
        return fd;
    int code = errno;
    close(fd);
    errno = code;
    return -1;
}

tern_status tern_listen(tern_server *server, tern_error *err) {
    const tern_server_config *config = &server->config;
    char port[16], host[256], service[16];
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    snprintf(port, sizeof port, "%d", config->port);
    struct addrinfo *found = look_up(config->host, port, AI_PASSIVE);
    if (!found)
        return tern_fail(err, TERN_ERR_IO, "--host %s: no such host; give an address of this machine", config->host);
    for (struct addrinfo *a = found; a && server->listener < 0; a = a->ai_next)
        server->listener = open_listener(a);
    int code = errno;
    freeaddrinfo(found);
    if (server->listener < 0)
        return tern_fail(err, TERN_ERR_IO, "cannot listen on %s port %d: %s", config->host, config->port,
                         strerror(code));
    if (getsockname(server->listener, (struct sockaddr *)&bound, &size) ||
        getnameinfo((struct sockaddr *)&bound, size, host, sizeof host, service, sizeof service,
                    NI_NUMERICHOST | NI_NUMERICSERV))
        return tern_fail(err, TERN_ERR_IO, "cannot tell the address of the listening socket");
    snprintf(server->url, sizeof server->url, strchr(host, ':') ? "http://[%s]:%s" : "http://%s:%s", host, service);
    return TERN_OK;
}
