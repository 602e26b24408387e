#define _GNU_SOURCE
#include "CLinux.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>

static int inet_fill(struct sockaddr_storage *address, socklen_t *length, const char *host, uint16_t port) {
    struct sockaddr_in *four = (struct sockaddr_in *)address;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)address;
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(port);
        *length = sizeof *four;
        return 0;
    }
    if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(port);
        *length = sizeof *six;
        return 0;
    }
    return -EADDRNOTAVAIL;
}

// A socket of an address's family, and the address.
static int tcp_open(struct sockaddr_storage *address, socklen_t *length, const char *host, uint16_t port) {
    int error = inet_fill(address, length, host, port);
    if (error) {
        return error;
    }
    return (int)cl_result(socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

// Closes a socket of which the last call failed.
static int tcp_give_up(int fd) {
    int error = -errno;
    close(fd);
    return error;
}

void cl_stream_prepare(int fd) {
    int one = 1;
    int room = 1 << 20;
    int family = 0;
    socklen_t length = sizeof family;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length) < 0 || family == AF_UNIX) {
        // Its own room is less than a frame; beyond net.core.wmem_max it takes CAP_NET_ADMIN.
        if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room) < 0) {
            setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
        }
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
}

int cl_tcp_listen(const char *host, uint16_t port, int backlog) {
    struct sockaddr_storage address;
    socklen_t length;
    int one = 1;
    int fd = tcp_open(&address, &length, host, port);
    if (fd < 0) {
        return fd;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, backlog) < 0) {
        return tcp_give_up(fd);
    }
    return fd;
}

int cl_tcp_port(int fd) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0) {
        return -errno;
    }
    if (address.ss_family == AF_INET6) {
        return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
    }
    return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

int cl_tcp_connect(const char *host, uint16_t port) {
    struct sockaddr_storage address;
    socklen_t length;
    int fd = tcp_open(&address, &length, host, port);
    if (fd < 0) {
        return fd;
    }
    cl_stream_prepare(fd);
    if (connect(fd, (struct sockaddr *)&address, length) < 0 && errno != EINPROGRESS) {
        return tcp_give_up(fd);
    }
    return fd;
}

int cl_socket_error(int fd) {
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0) {
        return -errno;
    }
    return -error;
}
