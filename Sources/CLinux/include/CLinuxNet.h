// Taps and their network interfaces; `struct ifreq` is a union that Swift sees as opaque. All answer 0 or -errno.
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { CL_INTERFACE_NAME_SIZE = 16 };

// Attaches a descriptor of /dev/net/tun to a tap; an empty or `%d` name is replaced by the one that was given.
int cl_tap_attach(int tun, char *name, size_t room, int multi_queue);

// What a tap's queue is: IFF_TAP, IFF_NO_PI, IFF_VNET_HDR and IFF_MULTI_QUEUE.
enum { CL_TAP_ETHERNET = 0x0002, CL_TAP_PLAIN = 0x1000, CL_TAP_HEADER = 0x4000, CL_TAP_MULTI_QUEUE = 0x0100 };
// Fills in the name of a queue's interface, at most `room` bytes, and which of the above it is.
int cl_tap_describe(int tun, char *name, size_t room, int *kind);
// The six bytes of the hardware address of a queue's interface, in whatever network namespace that is.
int cl_tap_get_mac(int tun, uint8_t *mac);
// A new descriptor of the network namespace that a tap is in, or -errno; needs CAP_NET_ADMIN there.
int cl_tap_namespace(int tun);
// Attaches or detaches a queue of a multi-queue tap.
int cl_tap_enable_queue(int tun, int enable);
int cl_interface_exists(const char *name);
int cl_interface_set_mac(int socket, const char *name, const uint8_t *mac);
int cl_interface_get_mac(int socket, const char *name, uint8_t *mac);
int cl_interface_set_mtu(int socket, const char *name, int mtu);
// The MTU, or -errno.
int cl_interface_get_mtu(int socket, const char *name);
// Addresses in network byte order.
int cl_interface_set_address(int socket, const char *name, uint32_t address);
int cl_interface_set_mask(int socket, const char *name, uint32_t mask);
int cl_interface_set_up(int socket, const char *name);
int cl_inet_socket(void);
