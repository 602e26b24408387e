// Unix sockets and pseudo-terminals by path; the C library's types for them are unions that Swift sees as opaque.
#pragma once

#include <stddef.h>
#include <sys/resource.h>

// Bind or connect a Unix stream socket; 0 or -errno (-ENAMETOOLONG for a path that does not fit).
int cl_unix_bind(int fd, const char *path);
int cl_unix_connect(int fd, const char *path);
// The room for a path, with its end.
size_t cl_unix_path_room(void);
int cl_unix_socket(void);
// The same, non-blocking from the start.
int cl_unix_socket_nonblocking(void);
// The next waiting client, close-on-exec and non-blocking, or -errno.
int cl_unix_accept(int fd);
// Opens a raw pseudo-terminal; the slave's path goes into `name`. 0 or -errno.
int cl_open_pty(int *master, int *slave, char *name, size_t room);
// A controlling side that is unlocked, close-on-exec, with the cooked settings of a new terminal; or -errno.
int cl_open_terminal(char *name, size_t room);
// The limits on open descriptors; 0 or -errno.
int cl_file_limit(struct rlimit *limit);
int cl_set_file_limit(const struct rlimit *limit);
// A close-on-exec pipe: read end, write end.
int cl_pipe(int ends[2]);

// The most descriptors that one message carries (SCM_MAX_FD).
enum { CL_DESCRIPTORS_AT_ONCE = 253 };
// Receives bytes and the descriptors that came with them (close-on-exec, at most CL_DESCRIPTORS_AT_ONCE, into
// `descriptors`); `lost` says that some could not be taken. The bytes' count, or -errno.
long cl_receive(int fd, void *bytes, size_t length, int *descriptors, size_t *count, int *lost);
// Sends bytes, with descriptors that travel beside the first of them; never raises SIGPIPE. The bytes' count, or -errno.
long cl_send(int fd, const void *bytes, size_t length, const int *descriptors, size_t count);
// Who is at the other end (SO_PEERCRED); 0 or -errno.
int cl_peer_credentials(int fd, int *process, unsigned *user, unsigned *group);
// 0 for a listening Unix stream socket, otherwise -errno: -ENOTSOCK, or -EPROTOTYPE for another kind of socket.
int cl_check_unix_listener(int fd);
// Two stream sockets that are connected with each other, close-on-exec; 0 or -errno.
int cl_unix_pair(int ends[2]);
