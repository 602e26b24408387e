#define _GNU_SOURCE
#include "CLinux.h"

#include <linux/if_ether.h>
#include <net/if_arp.h>

static int request(struct ifreq *request, const char *name) {
    size_t length = strlen(name);
    memset(request, 0, sizeof *request);
    if (length >= IFNAMSIZ) {
        return -ENAMETOOLONG;
    }
    memcpy(request->ifr_name, name, length);
    return 0;
}

static int change(int socket, unsigned long number, struct ifreq *request) {
    return (int)cl_result(ioctl(socket, number, request));
}

int cl_tap_attach(int tun, char *name, size_t room, int multi_queue) {
    struct ifreq ifr;
    int error = request(&ifr, name);
    if (error) {
        return error;
    }
    ifr.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (multi_queue ? IFF_MULTI_QUEUE : 0));
    error = change(tun, TUNSETIFF, &ifr);
    if (error < 0) {
        return error;
    }
    strncpy(name, ifr.ifr_name, room - 1);
    name[room - 1] = 0;
    return 0;
}

int cl_tap_describe(int tun, char *name, size_t room, int *kind) {
    struct ifreq ifr;
    memset(&ifr, 0, sizeof ifr);
    int error = change(tun, TUNGETIFF, &ifr);
    if (error < 0) {
        return error;
    }
    strncpy(name, ifr.ifr_name, room - 1);
    name[room - 1] = 0;
    // The flags are the low 16 bits; IFF_NO_PI and IFF_VNET_HDR would be negative in a short.
    *kind = (unsigned short)ifr.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE);
    return 0;
}

int cl_tap_get_mac(int tun, uint8_t *mac) {
    struct ifreq ifr;
    memset(&ifr, 0, sizeof ifr);
    int error = change(tun, SIOCGIFHWADDR, &ifr);
    memcpy(mac, ifr.ifr_hwaddr.sa_data, ETH_ALEN);
    return error;
}

int cl_tap_namespace(int tun) { return (int)cl_result(ioctl(tun, TUNGETDEVNETNS)); }

int cl_tap_enable_queue(int tun, int enable) {
    struct ifreq ifr;
    memset(&ifr, 0, sizeof ifr);
    ifr.ifr_flags = enable ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE;
    return change(tun, TUNSETQUEUE, &ifr);
}

int cl_interface_exists(const char *name) { return if_nametoindex(name) != 0; }

int cl_interface_set_mac(int socket, const char *name, const uint8_t *mac) {
    struct ifreq ifr;
    int error = request(&ifr, name);
    if (error) {
        return error;
    }
    ifr.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    memcpy(ifr.ifr_hwaddr.sa_data, mac, ETH_ALEN);
    return change(socket, SIOCSIFHWADDR, &ifr);
}

int cl_interface_get_mac(int socket, const char *name, uint8_t *mac) {
    struct ifreq ifr;
    int error = request(&ifr, name);
    if (error) {
        return error;
    }
    error = change(socket, SIOCGIFHWADDR, &ifr);
    memcpy(mac, ifr.ifr_hwaddr.sa_data, ETH_ALEN);
    return error;
}

int cl_interface_set_mtu(int socket, const char *name, int mtu) {
    struct ifreq ifr;
    int error = request(&ifr, name);
    if (error) {
        return error;
    }
    ifr.ifr_mtu = mtu;
    return change(socket, SIOCSIFMTU, &ifr);
}

int cl_interface_get_mtu(int socket, const char *name) {
    struct ifreq ifr;
    int error = request(&ifr, name);
    if (error) {
        return error;
    }
    error = change(socket, SIOCGIFMTU, &ifr);
    return error < 0 ? error : ifr.ifr_mtu;
}

static int set_address(int socket, unsigned long number, const char *name, uint32_t address) {
    struct ifreq ifr;
    struct sockaddr_in in;
    int error = request(&ifr, name);
    if (error) {
        return error;
    }
    memset(&in, 0, sizeof in);
    in.sin_family = AF_INET;
    in.sin_addr.s_addr = address;
    memcpy(&ifr.ifr_addr, &in, sizeof in);
    return change(socket, number, &ifr);
}

int cl_interface_set_address(int socket, const char *name, uint32_t address) {
    return set_address(socket, SIOCSIFADDR, name, address);
}

int cl_interface_set_mask(int socket, const char *name, uint32_t mask) {
    return set_address(socket, SIOCSIFNETMASK, name, mask);
}

int cl_interface_set_up(int socket, const char *name) {
    struct ifreq ifr;
    int error = request(&ifr, name);
    if (error) {
        return error;
    }
    error = change(socket, SIOCGIFFLAGS, &ifr);
    if (error < 0) {
        return error;
    }
    ifr.ifr_flags |= IFF_UP | IFF_RUNNING;
    return change(socket, SIOCSIFFLAGS, &ifr);
}

int cl_inet_socket(void) { return (int)cl_result(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)); }
