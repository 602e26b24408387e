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

int cl_unix_socket_nonblocking(void) {
    return (int)cl_result(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

int cl_file_limit(struct rlimit *limit) { return (int)cl_result(getrlimit(RLIMIT_NOFILE, limit)); }

int cl_set_file_limit(const struct rlimit *limit) { return (int)cl_result(setrlimit(RLIMIT_NOFILE, limit)); }

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

long cl_receive(int fd, void *bytes, size_t length, int *descriptors, size_t *count, int *lost) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * CL_DESCRIPTORS_AT_ONCE)];
    } control;
    struct iovec range = {.iov_base = bytes, .iov_len = length};
    struct msghdr message = {
        .msg_iov = &range, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t result;
    *count = 0;
    *lost = 0;
    do {
        result = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    } while (result < 0 && errno == EINTR);
    if (result < 0) {
        return -errno;
    }
    *lost = (message.msg_flags & MSG_CTRUNC) != 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS || part->cmsg_len < CMSG_LEN(0)) {
            continue;
        }
        size_t here = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t index = 0; index < here; index++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(part) + index * sizeof(int), sizeof descriptor);
            if (*count < CL_DESCRIPTORS_AT_ONCE) {
                descriptors[(*count)++] = descriptor;
            } else {
                close(descriptor);
                *lost = 1;
            }
        }
    }
    return result;
}

long cl_send(int fd, const void *bytes, size_t length, const int *descriptors, size_t count) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * CL_DESCRIPTORS_AT_ONCE)];
    } control;
    struct iovec range = {.iov_base = (void *)bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &range, .msg_iovlen = 1};
    ssize_t result;
    if (count > CL_DESCRIPTORS_AT_ONCE) {
        return -EINVAL;
    }
    if (count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(part), descriptors, sizeof(int) * count);
    }
    do {
        result = sendmsg(fd, &message, MSG_NOSIGNAL);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

int cl_peer_credentials(int fd, int *process, unsigned *user, unsigned *group) {
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0) {
        return -errno;
    }
    *process = credentials.pid;
    *user = credentials.uid;
    *group = credentials.gid;
    return 0;
}

int cl_check_unix_listener(int fd) {
    static const int options[3] = {SO_DOMAIN, SO_TYPE, SO_ACCEPTCONN};
    static const int wanted[3] = {AF_UNIX, SOCK_STREAM, 1};
    for (int index = 0; index < 3; index++) {
        int value = 0;
        socklen_t length = sizeof value;
        if (getsockopt(fd, SOL_SOCKET, options[index], &value, &length) < 0) {
            return -errno;
        }
        if (value != wanted[index]) {
            return -EPROTOTYPE;
        }
    }
    return 0;
}

int cl_unix_pair(int ends[2]) { return (int)cl_result(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)); }
