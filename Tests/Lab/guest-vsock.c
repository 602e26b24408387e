// guest-vsock - give a command's input and output to a vsock stream; BusyBox has no tool for that.
//
//   vsock listen PORT CMD [ARG..]        a process of CMD for every connection, until killed
//   vsock once PORT CMD [ARG..]          for the first connection only; exits with CMD's status, 128 + N for signal N
//   vsock connect CID PORT CMD [ARG..]   becomes CMD on a new connection
#define _GNU_SOURCE
#include <linux/vm_sockets.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int fail(const char *what) {
    perror(what);
    return 126;
}

static int become(int stream, char **command) {
    dup2(stream, 0);
    dup2(stream, 1);
    close(stream);
    execvp(command[0], command);
    return fail(command[0]);
}

int main(int count, char **words) {
    int listens = count > 3 && (!strcmp(words[1], "listen") || !strcmp(words[1], "once"));
    if (!listens && (count < 5 || strcmp(words[1], "connect"))) {
        return fprintf(stderr, "vsock listen|once PORT CMD.. or vsock connect CID PORT CMD..\n"), 2;
    }
    struct sockaddr_vm address = {.svm_family = AF_VSOCK};
    address.svm_cid = listens ? VMADDR_CID_ANY : strtoul(words[2], NULL, 10);
    address.svm_port = strtoul(words[listens ? 2 : 3], NULL, 10);
    int stream = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (stream < 0) {
        return fail("socket");
    }
    if (!listens) {
        if (connect(stream, (struct sockaddr *)&address, sizeof address) < 0) {
            return fail("connect");
        }
        return become(stream, words + 4);
    }
    if (bind(stream, (struct sockaddr *)&address, sizeof address) < 0 || listen(stream, 256) < 0) {
        return fail("listen");
    }
    int once = !strcmp(words[1], "once");
    if (!once) {
        signal(SIGCHLD, SIG_IGN);
    }
    for (;;) {
        int client = accept4(stream, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0) {
            return fail("accept");
        }
        pid_t child = fork();
        if (child == 0) {
            signal(SIGCHLD, SIG_DFL);
            return become(client, words + 3);
        }
        close(client);
        if (once) {
            int status = 0;
            close(stream);
            waitpid(child, &status, 0);
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
    }
}
