/*
 * Batches from raw IPv6 sockets. The kernel gives what follows the headers (RFC 3542 section 3); addresses, hop limit
 * and traffic class come beside it. Each row gets them as the IPv6 header they were, so that a packet begins with its
 * header as on raw IPv4 sockets. The flow label and extension headers, fragments among them, are the kernel's and gone.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "arguments.h"

/* Rows of one recvmmsg. */
#define CHUNK 64
#define IPV6_HEADER 40
/* length[i] of a packet that did not fit. */
#define CUT (-1)

union control {
  struct cmsghdr align;
  uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + 2 * CMSG_SPACE(sizeof(int))];
};

/* reportHeaders6(fd): the socket tells destination, hop limit and traffic class of what it receives. */
static napi_value report_headers(napi_env env, napi_callback_info info) {
  static const int options[] = {IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS};
  struct arguments a;
  if (!arguments_load(&a, env, info, "reportHeaders6", 1)) return NULL;
  int fd = take_descriptor(&a, 0);
  if (a.failed) return NULL;
  for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
    int on = 1;
    if (setsockopt(fd, IPPROTO_IPV6, options[i], &on, sizeof on) != 0)
      return throw_system(&a, errno, "set IPV6_RECV options on fd %d", fd);
  }
  return NULL;
}

static void write_header(uint8_t *header, const struct msghdr *message, const struct sockaddr_in6 *from, size_t length, int protocol) {
  int hops = 0, class = 0;
  memset(header, 0, IPV6_HEADER);
  memcpy(header + 8, &from->sin6_addr, 16);
  for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL; part = CMSG_NXTHDR((struct msghdr *)message, part)) {
    if (part->cmsg_level != IPPROTO_IPV6) continue;
    if (part->cmsg_type == IPV6_PKTINFO) memcpy(header + 24, CMSG_DATA(part), 16);
    if (part->cmsg_type == IPV6_HOPLIMIT) memcpy(&hops, CMSG_DATA(part), sizeof hops);
    if (part->cmsg_type == IPV6_TCLASS) memcpy(&class, CMSG_DATA(part), sizeof class);
  }
  header[0] = (uint8_t)(0x60 | (class >> 4 & 15));
  header[1] = (uint8_t)(class << 4);
  header[4] = (uint8_t)(length >> 8);
  header[5] = (uint8_t)length;
  header[6] = (uint8_t)protocol;
  header[7] = (uint8_t)hops;
}

/* receiveBatch6(fd, protocol, arena, offset, length, first, count, capacity) */
static napi_value receive_batch6(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "receiveBatch6", 8)) return NULL;
  int fd = take_descriptor(&a, 0);
  int protocol = (int)take_integer(&a, 1, "protocol", 0, 255);
  struct frames frames = take_frames(&a, 2);
  int64_t capacity = take_integer(&a, 7, "capacity", IPV6_HEADER, INT32_MAX);
  if (a.failed || !check_capacities(&a, &frames, capacity)) return NULL;

  struct mmsghdr messages[CHUNK];
  struct iovec parts[CHUNK];
  struct sockaddr_in6 from[CHUNK];
  union control controls[CHUNK];
  uint8_t *headers[CHUNK];
  size_t row = frames.rows.first;
  bool may_retry = true;
  while (row < frames.rows.end) {
    size_t wanted = frames.rows.end - row < CHUNK ? frames.rows.end - row : CHUNK;
    for (size_t i = 0; i < wanted; i++) {
      /* Read once: another thread may write the column between the check and the use. */
      int32_t offset = read_row(&frames.offset, row + i);
      if (!is_within(frames.arena.length, offset, capacity))
        return throw_outside(&a, "packet", row + i, offset, capacity, frames.arena.length);
      headers[i] = frames.arena.data + offset;
      parts[i].iov_base = headers[i] + IPV6_HEADER;
      parts[i].iov_len = (size_t)capacity - IPV6_HEADER;
      memset(&messages[i], 0, sizeof messages[i]);
      memset(&from[i], 0, sizeof from[i]);
      messages[i].msg_hdr.msg_name = &from[i];
      messages[i].msg_hdr.msg_namelen = sizeof from[i];
      messages[i].msg_hdr.msg_iov = &parts[i];
      messages[i].msg_hdr.msg_iovlen = 1;
      messages[i].msg_hdr.msg_control = controls[i].bytes;
      messages[i].msg_hdr.msg_controllen = sizeof controls[i].bytes;
    }
    int got = recvmmsg(fd, messages, (unsigned int)wanted, MSG_DONTWAIT, NULL);
    if (got < 0) {
      if (errno == EAGAIN) break;
      if (errno == EBADF || errno == ENOTSOCK || errno == EFAULT || errno == EINVAL || errno == EOPNOTSUPP)
        return throw_system(&a, errno, "receive IPv6 from fd %d", fd);
      /* An error left by an earlier packet (ICMP, device went down) is reported once and then forgotten. */
      if (!may_retry && errno != EINTR) break;
      may_retry = errno == EINTR;
      continue;
    }
    for (size_t i = 0; i < (size_t)got; i++) {
      size_t length = messages[i].msg_len;
      bool cut = (messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0 || length > UINT16_MAX;
      write_header(headers[i], &messages[i].msg_hdr, &from[i], length, protocol);
      write_row(&frames.length, row + i, cut ? CUT : (int32_t)(IPV6_HEADER + length));
    }
    row += (size_t)got;
    if ((size_t)got < wanted) break;
  }
  return number_result(&a, (int64_t)(row - frames.rows.first));
}

const struct call raw6_calls[] = {
    {"reportHeaders6", report_headers},
    {"receiveBatch6", receive_batch6},
    {NULL, NULL},
};
