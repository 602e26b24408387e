// TCP by numeric addresses; the C library's types for them are unions that Swift sees as opaque.
#pragma once

#include <stdint.h>

// A listening socket, non-blocking and close-on-exec, or -errno; -EADDRNOTAVAIL for a host that is no numeric address.
int cl_tcp_listen(const char *host, uint16_t port, int backlog);
// The port that a socket is bound to, or -errno.
int cl_tcp_port(int fd);
// A socket that is connected or about to be, non-blocking and close-on-exec, or -errno as above.
int cl_tcp_connect(const char *host, uint16_t port);
// Has a TCP socket send at once and notice a dead peer; nothing for other sockets.
void cl_stream_prepare(int fd);
// What came of connecting: 0 or -errno.
int cl_socket_error(int fd);
