/*
 * Datagrams of the control plane (IKE), one at a time and copied, with the local address they came to or leave from
 * (IP_PKTINFO of ip(7), IPV6_PKTINFO of RFC 3542 section 6).
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "address.h"

/* Most datagrams of one receiveDatagrams. */
#define DATAGRAMS_MAXIMUM 1024

union control {
  struct cmsghdr align;
  uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

static bool set_text(struct arguments *a, napi_value object, const char *name, const char *text) {
  napi_value value;
  return napi_create_string_utf8(a->env, text, NAPI_AUTO_LENGTH, &value) == napi_ok &&
         napi_set_named_property(a->env, object, name, value) == napi_ok;
}

/* { data, remote: { address, port }, local } */
static bool make_datagram(struct arguments *a, size_t length, const union address *remote, const char *local, napi_value *object) {
  napi_env env = a->env;
  napi_value buffer, data, endpoint, port;
  void *memory = NULL;
  char text[ADDRESS_TEXT_BYTES];
  if (napi_create_arraybuffer(env, length, &memory, &buffer) != napi_ok) return false;
  if (length != 0) memcpy(memory, a->self->datagram, length);
  write_address(remote, text);
  return napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &data) == napi_ok &&
         napi_create_object(env, &endpoint) == napi_ok && set_text(a, endpoint, "address", text) &&
         napi_create_uint32(env, port_of(remote), &port) == napi_ok &&
         napi_set_named_property(env, endpoint, "port", port) == napi_ok && napi_create_object(env, object) == napi_ok &&
         napi_set_named_property(env, *object, "data", data) == napi_ok &&
         napi_set_named_property(env, *object, "remote", endpoint) == napi_ok && set_text(a, *object, "local", local);
}

/* The destination address of a received message, as text; "" if the socket does not report it. */
static void write_local(struct msghdr *message, char text[ADDRESS_TEXT_BYTES]) {
  union address local;
  text[0] = 0;
  for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL; part = CMSG_NXTHDR(message, part)) {
    memset(&local, 0, sizeof local);
    if (part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo packet;
      memcpy(&packet, CMSG_DATA(part), sizeof packet);
      local.v4.sin_family = AF_INET;
      local.v4.sin_addr = packet.ipi_addr;
      write_address(&local, text);
    } else if (part->cmsg_level == IPPROTO_IPV6 && part->cmsg_type == IPV6_PKTINFO) {
      struct in6_pktinfo packet;
      memcpy(&packet, CMSG_DATA(part), sizeof packet);
      local.v6.sin6_family = AF_INET6;
      local.v6.sin6_addr = packet.ipi6_addr;
      if (IN6_IS_ADDR_LINKLOCAL(&packet.ipi6_addr)) local.v6.sin6_scope_id = packet.ipi6_ifindex;
      write_address(&local, text);
    }
  }
}

/* receiveDatagrams(fd, maximum) */
static napi_value receive_datagrams(napi_env env, napi_callback_info info) {
  struct arguments a;
  napi_value list;
  if (!arguments_load(&a, env, info, "receiveDatagrams", 2)) return NULL;
  int fd = take_descriptor(&a, 0);
  uint32_t maximum = (uint32_t)take_integer(&a, 1, "maximum", 1, DATAGRAMS_MAXIMUM);
  if (a.failed || napi_create_array(env, &list) != napi_ok) return NULL;

  uint32_t received = 0;
  for (uint32_t attempt = 0; attempt < maximum; attempt++) {
    union address remote;
    union control control;
    struct iovec part = {a.self->datagram, sizeof a.self->datagram};
    struct msghdr message;
    memset(&remote, 0, sizeof remote);
    memset(&message, 0, sizeof message);
    message.msg_name = &remote;
    message.msg_namelen = sizeof remote;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT);
    if (got < 0) {
      if (errno == EAGAIN) break;
      /* An ICMP error of an earlier datagram: reported once, the next call sees the queue again. */
      if (errno == EINTR || errno == ECONNREFUSED || errno == EHOSTUNREACH || errno == ENETUNREACH || errno == ENETDOWN)
        continue;
      return throw_system(&a, errno, "receive datagrams from fd %d", fd);
    }
    char local[ADDRESS_TEXT_BYTES];
    napi_value object;
    write_local(&message, local);
    if (!make_datagram(&a, (size_t)got, &remote, local, &object) ||
        napi_set_element(env, list, received++, object) != napi_ok)
      return NULL;
  }
  return list;
}

static void *add_control(struct msghdr *message, union control *control, int level, int type, size_t length) {
  memset(control, 0, sizeof *control);
  message->msg_control = control->bytes;
  message->msg_controllen = CMSG_SPACE(length);
  struct cmsghdr *part = CMSG_FIRSTHDR(message);
  part->cmsg_level = level;
  part->cmsg_type = type;
  part->cmsg_len = CMSG_LEN(length);
  return CMSG_DATA(part);
}

/* sendDatagram(fd, data, remoteAddress, remotePort, local?) */
static napi_value send_datagram(napi_env env, napi_callback_info info) {
  struct arguments a;
  union address remote, local;
  union control control;
  char endpoint[ADDRESS_TEXT_BYTES + 8];
  if (!arguments_load(&a, env, info, "sendDatagram", 4)) return NULL;
  int fd = take_descriptor(&a, 0);
  struct bytes data = take_bytes(&a, 1, "data");
  take_address(&a, 2, "remote.address", AF_UNSPEC, &remote);
  set_port(&remote, (uint16_t)take_integer(&a, 3, "remote.port", 0, 65535));
  bool has_local = is_given(&a, 4);
  if (has_local) take_address(&a, 4, "local", a.failed ? AF_UNSPEC : remote.any.sa_family, &local);
  if (a.failed) return NULL;

  struct iovec part = {data.data, data.length};
  struct msghdr message;
  memset(&message, 0, sizeof message);
  message.msg_name = &remote;
  message.msg_namelen = address_bytes(&remote);
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (has_local && local.any.sa_family == AF_INET) {
    struct in_pktinfo packet;
    memset(&packet, 0, sizeof packet);
    packet.ipi_spec_dst = local.v4.sin_addr;
    memcpy(add_control(&message, &control, IPPROTO_IP, IP_PKTINFO, sizeof packet), &packet, sizeof packet);
  } else if (has_local) {
    struct in6_pktinfo packet;
    memset(&packet, 0, sizeof packet);
    packet.ipi6_addr = local.v6.sin6_addr;
    packet.ipi6_ifindex = local.v6.sin6_scope_id;
    memcpy(add_control(&message, &control, IPPROTO_IPV6, IPV6_PKTINFO, sizeof packet), &packet, sizeof packet);
  }
  ssize_t sent;
  do sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent < 0) {
    int number = errno;
    char from[ADDRESS_TEXT_BYTES] = "";
    write_endpoint(&remote, endpoint);
    if (has_local) write_address(&local, from);
    return throw_system(&a, number, "send %zu bytes to UDP %s%s%s", data.length, endpoint, has_local ? " from " : "", from);
  }
  return NULL;
}

const struct call datagram_calls[] = {
    {"receiveDatagrams", receive_datagrams},
    {"sendDatagram", send_datagram},
    {NULL, NULL},
};
