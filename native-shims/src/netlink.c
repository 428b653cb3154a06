/*
 * Netlink (RFC 3549), bytes as they are: asking the kernel, and hearing what it tells to groups. Messages are written and
 * read in TypeScript. Nothing here waits: the kernel answers a request before send returns.
 *
 * Only what the kernel itself has sent is believed; a message of another process is passed over.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"

/* A burst of changes that a worker has no time for is an overrun, which it is told of. */
#define RECEIVE_BUFFER (256 << 10)
#define OVERRUN (-1)

/* openNetlink(protocol, groups) */
static napi_value open_netlink(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "openNetlink", 2)) return NULL;
  int protocol = (int)take_integer(&a, 0, "protocol", 0, 31);
  uint32_t groups = (uint32_t)take_integer(&a, 1, "groups", 0, UINT32_MAX);
  if (a.failed) return NULL;

  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
  if (fd < 0) return throw_system(&a, errno, "open netlink socket of protocol %d", protocol);
  int bytes = RECEIVE_BUFFER;
  struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) != 0 ||
      bind(fd, (struct sockaddr *)&address, sizeof address) != 0) {
    int number = errno;
    close(fd);
    return throw_system(&a, number, "bind netlink socket of protocol %d", protocol);
  }
  return number_result(&a, fd);
}

/* netlinkSend(fd, message) */
static napi_value netlink_send(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "netlinkSend", 2)) return NULL;
  int fd = take_descriptor(&a, 0);
  struct bytes message = take_bytes(&a, 1, "message");
  if (a.failed) return NULL;
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  if (sendto(fd, message.data, message.length, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
    return throw_system(&a, errno, "send to netlink fd %d", fd);
  return NULL;
}

/* netlinkReceive(fd, into) */
static napi_value netlink_receive(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "netlinkReceive", 2)) return NULL;
  int fd = take_descriptor(&a, 0);
  struct bytes into = take_bytes(&a, 1, "into");
  if (a.failed) return NULL;
  for (;;) {
    struct sockaddr_nl from = {0};
    struct iovec part = {into.data, into.length};
    struct msghdr header = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &part, .msg_iovlen = 1};
    ssize_t got = recvmsg(fd, &header, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return number_result(&a, 0);
    if (got < 0 && errno == ENOBUFS) return number_result(&a, OVERRUN);
    if (got < 0) return throw_system(&a, errno, "receive from netlink fd %d", fd);
    if (from.nl_pid != 0) continue;
    return number_result(&a, (header.msg_flags & MSG_TRUNC) != 0 ? OVERRUN : (int64_t)got);
  }
}

const struct call netlink_calls[] = {
    {"openNetlink", open_netlink},
    {"netlinkSend", netlink_send},
    {"netlinkReceive", netlink_receive},
    {NULL, NULL},
};
