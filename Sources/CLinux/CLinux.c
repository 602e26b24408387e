#include "CLinux.h"

static void kicked(int signal_number) { (void)signal_number; }

int cl_install_kick_handler(int signal_number) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = kicked; // no SA_RESTART: KVM_RUN has to return
    return (int)cl_result(sigaction(signal_number, &action, NULL));
}
