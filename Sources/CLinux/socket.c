#define _GNU_SOURCE
#include "CLinux.h"

static int fill(struct sockaddr_un *address, const char *path) {
    size_t length = strlen(path);
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (length == 0 || length >= sizeof address->sun_path) {
        return -ENAMETOOLONG;
    }
    memcpy(address->sun_path, path, length);
    return 0;
}

int cl_unix_bind(int fd, const char *path) {
    struct sockaddr_un address;
    int error = fill(&address, path);
    return error ? error : (int)cl_result(bind(fd, (struct sockaddr *)&address, sizeof address));
}

int cl_unix_connect(int fd, const char *path) {
    struct sockaddr_un address;
    int error = fill(&address, path);
    return error ? error : (int)cl_result(connect(fd, (struct sockaddr *)&address, sizeof address));
}

size_t cl_unix_path_room(void) { return sizeof((struct sockaddr_un *)0)->sun_path; }

int cl_unix_socket(void) { return (int)cl_result(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); }

int cl_unix_accept(int fd) { return (int)cl_result(accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)); }

int cl_open_pty(int *master, int *slave, char *name, size_t room) {
    struct termios settings;
    memset(&settings, 0, sizeof settings);
    cfmakeraw(&settings);
    settings.c_cflag |= CREAD;
    if (openpty(master, slave, NULL, &settings, NULL) < 0) {
        return -errno;
    }
    fcntl(*master, F_SETFD, FD_CLOEXEC);
    fcntl(*slave, F_SETFD, FD_CLOEXEC);
    return -ttyname_r(*slave, name, room);
}

int cl_open_terminal(char *name, size_t room) {
    int controller = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    int error;
    if (controller < 0) {
        return -errno;
    }
    error = ptsname_r(controller, name, room);
    if (error || grantpt(controller) < 0 || unlockpt(controller) < 0) {
        error = error ? error : errno;
        close(controller);
        return -error;
    }
    return controller;
}

int cl_pipe(int ends[2]) { return (int)cl_result(pipe2(ends, O_CLOEXEC)); }
