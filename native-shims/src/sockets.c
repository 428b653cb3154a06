/*
 * Opening sockets and attaching classic BPF programs to them: raw IP, UDP, AF_PACKET, and the TCP listener that
 * stays silent. All are non-blocking and close-on-exec. Moving packets through them is batch.c and datagram.c.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>

#include "address.h"

#ifndef SO_ATTACH_REUSEPORT_CBPF
#define SO_ATTACH_REUSEPORT_CBPF 51
#endif
#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef IPV6_HDRINCL
#define IPV6_HDRINCL 36
#endif

/* BPF_MAXINSNS of the kernel, and sizeof(struct sock_filter). */
#define FILTER_MAXIMUM 4096
#define FILTER_BYTES sizeof(struct sock_filter)

/* A mark of -1 leaves it alone. */
#define NO_MARK (-1)

static int set_option(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof value);
}

/* Sets a buffer beyond the system's limit where CAP_NET_ADMIN allows it, up to the limit otherwise; 0 leaves it. */
static int set_buffer(int fd, int forced, int plain, int bytes) {
  if (bytes == 0 || set_option(fd, SOL_SOCKET, forced, bytes) == 0) return 0;
  return errno == EPERM ? set_option(fd, SOL_SOCKET, plain, bytes) : -1;
}

static int set_mark(int fd, int64_t mark) {
  uint32_t value = (uint32_t)mark;
  return mark == NO_MARK ? 0 : setsockopt(fd, SOL_SOCKET, SO_MARK, &value, sizeof value);
}

/* Closes what was opened and throws for the errno that is set. */
static napi_value give_up(struct arguments *a, int fd, const char *attempted) {
  int number = errno;
  if (fd >= 0) close(fd);
  return throw_system(a, number, "%s", attempted);
}

struct buffers {
  int receive;
  int send;
};

static struct buffers take_buffers(struct arguments *a, size_t index) {
  struct buffers buffers;
  buffers.receive = (int)take_integer(a, index, "receiveBuffer", 0, INT32_MAX);
  buffers.send = (int)take_integer(a, index + 1, "sendBuffer", 0, INT32_MAX);
  return buffers;
}

static int set_buffers(int fd, struct buffers buffers) {
  if (set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, buffers.receive) != 0) return -1;
  return set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, buffers.send);
}

/* openRawSocket(family, protocol, headerIncluded, mark, receiveBuffer, sendBuffer) */
static napi_value open_raw_socket(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "openRawSocket", 6)) return NULL;
  int family = take_family(&a, 0);
  int protocol = (int)take_integer(&a, 1, "protocol", 0, 255);
  bool header_included = take_boolean(&a, 2, "headerIncluded");
  int64_t mark = take_integer(&a, 3, "mark", NO_MARK, UINT32_MAX);
  struct buffers buffers = take_buffers(&a, 4);
  if (a.failed) return NULL;

  const char *version = family == AF_INET6 ? "IPv6" : "IPv4";
  int fd = socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
  if (fd < 0) return throw_system(&a, errno, "open raw %s socket of protocol %d", version, protocol);
  if (header_included && (family == AF_INET6 ? set_option(fd, IPPROTO_IPV6, IPV6_HDRINCL, 1)
                                             : set_option(fd, IPPROTO_IP, IP_HDRINCL, 1)) != 0)
    return give_up(&a, fd, "set HDRINCL on raw socket");
  /* What the kernel has learned of path MTUs from ICMP is checked less well than the engine checks it. */
  if (header_included && (family == AF_INET6 ? set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE)
                                             : set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)) != 0)
    return give_up(&a, fd, "set MTU_DISCOVER on raw socket");
  if (set_mark(fd, mark) != 0) return give_up(&a, fd, "set SO_MARK on raw socket");
  if (set_buffers(fd, buffers) != 0) return give_up(&a, fd, "set buffers of raw socket");
  return number_result(&a, fd);
}

/* openUdpSocket(family, address, port, device, packetInfo, reusePort, mark, receiveBuffer, sendBuffer, joined, receiveTos, dontFragment) */
static napi_value open_udp_socket(napi_env env, napi_callback_info info) {
  struct arguments a;
  union address address;
  char device[IFNAMSIZ], endpoint[ADDRESS_TEXT_BYTES + 8];
  if (!arguments_load(&a, env, info, "openUdpSocket", 12)) return NULL;
  int family = take_family(&a, 0);
  take_address(&a, 1, "address", family, &address);
  set_port(&address, (uint16_t)take_integer(&a, 2, "port", 0, 65535));
  take_text(&a, 3, "device", device, sizeof device, 0);
  bool packet_info = take_boolean(&a, 4, "packetInfo");
  bool reuse_port = take_boolean(&a, 5, "reusePort");
  int64_t mark = take_integer(&a, 6, "mark", NO_MARK, UINT32_MAX);
  struct buffers buffers = take_buffers(&a, 7);
  bool joined = take_boolean(&a, 9, "joined");
  bool receive_tos = take_boolean(&a, 10, "receiveTos");
  bool dont_fragment = take_boolean(&a, 11, "dontFragment");
  if (a.failed) return NULL;
  write_endpoint(&address, endpoint);

  int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
  if (fd < 0) return throw_system(&a, errno, "open UDP socket for %s", endpoint);
  /* So that 0.0.0.0 and :: can have the same port. */
  if (family == AF_INET6 && set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) != 0) return give_up(&a, fd, "set IPV6_V6ONLY");
  if (packet_info && (family == AF_INET6 ? set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
                                         : set_option(fd, IPPROTO_IP, IP_PKTINFO, 1)) != 0)
    return give_up(&a, fd, "set PKTINFO on UDP socket");
  if (joined && set_option(fd, IPPROTO_UDP, UDP_GRO, 1) != 0) return give_up(&a, fd, "set UDP_GRO on UDP socket");
  if (dont_fragment && (family == AF_INET6 ? set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO)
                                           : set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)) != 0)
    return give_up(&a, fd, "set MTU_DISCOVER on UDP socket");
  if (receive_tos && (family == AF_INET6 ? set_option(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1)
                                         : set_option(fd, IPPROTO_IP, IP_RECVTOS, 1)) != 0)
    return give_up(&a, fd, "set RECVTOS on UDP socket");
  if (reuse_port && set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0) return give_up(&a, fd, "set SO_REUSEPORT on UDP socket");
  if (set_mark(fd, mark) != 0) return give_up(&a, fd, "set SO_MARK on UDP socket");
  if (set_buffers(fd, buffers) != 0) return give_up(&a, fd, "set buffers of UDP socket");
  if (device[0] != 0 && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, (socklen_t)strlen(device)) != 0) {
    int number = errno;
    close(fd);
    return throw_system(&a, number, "bind UDP %s to device %s", endpoint, device);
  }
  if (bind(fd, &address.any, address_bytes(&address)) != 0) {
    int number = errno;
    close(fd);
    return throw_system(&a, number, "bind UDP %s", endpoint);
  }
  return number_result(&a, fd);
}

/* openPacketSocket(device, receiveBuffer, sendBuffer, vnetHeader) */
static napi_value open_packet_socket(napi_env env, napi_callback_info info) {
  struct arguments a;
  char device[IFNAMSIZ];
  if (!arguments_load(&a, env, info, "openPacketSocket", 4)) return NULL;
  take_text(&a, 0, "device", device, sizeof device, 1);
  struct buffers buffers = take_buffers(&a, 1);
  bool vnet_header = take_boolean(&a, 3, "vnetHeader");
  if (a.failed) return NULL;

  unsigned int index = if_nametoindex(device);
  if (index == 0) return throw_system(&a, errno, "find device %s", device);
  /* Protocol 0: it hears nothing, and nothing of other devices, before bind. */
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return throw_system(&a, errno, "open packet socket on %s", device);
  if (set_buffers(fd, buffers) != 0) return give_up(&a, fd, "set buffers of packet socket");
  if (set_option(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1) != 0) return give_up(&a, fd, "set PACKET_IGNORE_OUTGOING");
  if (set_option(fd, SOL_PACKET, PACKET_AUXDATA, 1) != 0) return give_up(&a, fd, "set PACKET_AUXDATA");
  if (vnet_header && set_option(fd, SOL_PACKET, PACKET_VNET_HDR, 1) != 0) return give_up(&a, fd, "set PACKET_VNET_HDR");

  struct packet_mreq promiscuous;
  memset(&promiscuous, 0, sizeof promiscuous);
  promiscuous.mr_ifindex = (int)index;
  promiscuous.mr_type = PACKET_MR_PROMISC;
  struct sockaddr_ll address;
  memset(&address, 0, sizeof address);
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = (int)index;
  if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous) != 0 ||
      bind(fd, (struct sockaddr *)&address, sizeof address) != 0) {
    int number = errno;
    close(fd);
    return throw_system(&a, number, "bind packet socket to %s", device);
  }
  return number_result(&a, fd);
}

/* openPacketSender(sendBuffer) */
static napi_value open_packet_sender(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "openPacketSender", 1)) return NULL;
  struct buffers buffers = {0, (int)take_integer(&a, 0, "sendBuffer", 0, INT32_MAX)};
  if (a.failed) return NULL;
  /* Protocol 0: it hears nothing. */
  int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return throw_system(&a, errno, "open packet socket to send");
  if (set_buffers(fd, buffers) != 0) return give_up(&a, fd, "set buffers of packet socket");
  return number_result(&a, fd);
}

/* openSilentListener(family, address, port) */
static napi_value open_silent_listener(napi_env env, napi_callback_info info) {
  struct arguments a;
  union address address;
  char endpoint[ADDRESS_TEXT_BYTES + 8];
  if (!arguments_load(&a, env, info, "openSilentListener", 3)) return NULL;
  int family = take_family(&a, 0);
  take_address(&a, 1, "address", family, &address);
  set_port(&address, (uint16_t)take_integer(&a, 2, "port", 0, 65535));
  if (a.failed) return NULL;
  write_endpoint(&address, endpoint);

  struct sock_filter drop = {BPF_RET | BPF_K, 0, 0, 0};
  struct sock_fprog program = {1, &drop};
  int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
  if (fd < 0) return throw_system(&a, errno, "open TCP socket for %s", endpoint);
  if (family == AF_INET6 && set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) != 0) return give_up(&a, fd, "set IPV6_V6ONLY");
  if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
    return give_up(&a, fd, "attach drop filter to TCP socket");
  if (bind(fd, &address.any, address_bytes(&address)) != 0 || listen(fd, 1) != 0) {
    int number = errno;
    close(fd);
    return throw_system(&a, number, "listen TCP %s", endpoint);
  }
  return number_result(&a, fd);
}

/* (fd, program): the program as an array of struct sock_filter. */
static napi_value attach(napi_env env, napi_callback_info info, const char *call, int option, const char *option_name) {
  struct arguments a;
  if (!arguments_load(&a, env, info, call, 2)) return NULL;
  int fd = take_descriptor(&a, 0);
  struct bytes program = take_bytes(&a, 1, "program");
  if (a.failed) return NULL;
  size_t count = program.length / FILTER_BYTES;
  if (count < 1 || count > FILTER_MAXIMUM || program.length % FILTER_BYTES != 0)
    return throw_range(&a, "a program has 1 to %d instructions, got %zu bytes", FILTER_MAXIMUM, program.length);
  struct sock_fprog descriptor = {(unsigned short)count, (struct sock_filter *)(void *)program.data};
  if (setsockopt(fd, SOL_SOCKET, option, &descriptor, sizeof descriptor) != 0)
    return throw_system(&a, errno, "%s of %zu instructions on fd %d", option_name, count, fd);
  return NULL;
}

static napi_value attach_filter(napi_env env, napi_callback_info info) {
  return attach(env, info, "attachFilter", SO_ATTACH_FILTER, "SO_ATTACH_FILTER");
}

static napi_value attach_reuse_port_filter(napi_env env, napi_callback_info info) {
  return attach(env, info, "attachReusePortFilter", SO_ATTACH_REUSEPORT_CBPF, "SO_ATTACH_REUSEPORT_CBPF");
}

/* setMark(fd, mark) */
static napi_value change_mark(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "setMark", 2)) return NULL;
  int fd = take_descriptor(&a, 0);
  int64_t mark = take_integer(&a, 1, "mark", 0, UINT32_MAX);
  if (a.failed) return NULL;
  if (set_mark(fd, mark) != 0) return throw_system(&a, errno, "set SO_MARK on fd %d", fd);
  return NULL;
}

const struct call socket_calls[] = {
    {"openRawSocket", open_raw_socket},
    {"openUdpSocket", open_udp_socket},
    {"openPacketSocket", open_packet_socket},
    {"openPacketSender", open_packet_sender},
    {"openSilentListener", open_silent_listener},
    {"attachFilter", attach_filter},
    {"attachReusePortFilter", attach_reuse_port_filter},
    {"setMark", change_mark},
    {NULL, NULL},
};
