// Unix sockets and pseudo-terminals by path; the C library's types for them are unions that Swift sees as opaque.
#pragma once

#include <stddef.h>

// Bind or connect a Unix stream socket; 0 or -errno (-ENAMETOOLONG for a path that does not fit).
int cl_unix_bind(int fd, const char *path);
int cl_unix_connect(int fd, const char *path);
// The room for a path, with its end.
size_t cl_unix_path_room(void);
int cl_unix_socket(void);
// The next waiting client, close-on-exec and non-blocking, or -errno.
int cl_unix_accept(int fd);
// Opens a raw pseudo-terminal; the slave's path goes into `name`. 0 or -errno.
int cl_open_pty(int *master, int *slave, char *name, size_t room);
// A controlling side that is unlocked, close-on-exec, with the cooked settings of a new terminal; or -errno.
int cl_open_terminal(char *name, size_t room);
// A close-on-exec pipe: read end, write end.
int cl_pipe(int ends[2]);
