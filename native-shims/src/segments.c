/*
 * UDP in large pieces: sendmmsg with UDP_SEGMENT (Linux 4.18) and recvmmsg with UDP_GRO (Linux 5.0), see udp(7).
 *
 * A group of rows leaves as one message that the kernel cuts again; a message that the kernel has joined comes into one
 * row with the size of its parts. Local address, TOS and TTL travel as control messages (ip(7), RFC 3542).
 */
#include "batch.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* Rows of one message: UDP_MAX_SEGMENTS of the kernels before 6.9. */
#define SEGMENTS_MAXIMUM 64
/* Messages of one system call; each may have as many iovecs as it has rows. */
#define MESSAGES 32
/* A TOS or TTL of -1 leaves it to the socket. */
#define UNSET (-1)

#define SENT_CONTROL \
  (CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(uint16_t)) + 3 * CMSG_SPACE(sizeof(int)))
#define RECEIVED_CONTROL (CMSG_SPACE(sizeof(struct in6_pktinfo)) + 2 * CMSG_SPACE(sizeof(int)))

union sent_control {
  struct cmsghdr align;
  uint8_t bytes[SENT_CONTROL];
};

union received_control {
  struct cmsghdr align;
  uint8_t bytes[RECEIVED_CONTROL];
};

/* What sendSegments takes beside the frames. */
struct sent {
  struct frames frames;
  struct bytes to, from;
  struct column to_index, group, tos, ttl, errors;
  uint32_t mark;
};

/* Appends a control message behind the `used` bytes there are. Returns the bytes used then. */
static size_t add_control(uint8_t *control, size_t used, int level, int type, const void *value, size_t length) {
  struct cmsghdr *part = (struct cmsghdr *)(void *)(control + used);
  part->cmsg_level = level;
  part->cmsg_type = type;
  part->cmsg_len = CMSG_LEN(length);
  memcpy(CMSG_DATA(part), value, length);
  return used + CMSG_SPACE(length);
}

/* The local address as a control message; a slot of zeros is none. */
static size_t add_source(uint8_t *control, size_t used, const uint8_t *slot) {
  union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
  } source;
  memcpy(&source, slot, ADDRESS_SLOT);
  if (source.any.sa_family == AF_INET) {
    struct in_pktinfo packet;
    memset(&packet, 0, sizeof packet);
    packet.ipi_spec_dst = source.v4.sin_addr;
    return add_control(control, used, IPPROTO_IP, IP_PKTINFO, &packet, sizeof packet);
  }
  if (source.any.sa_family == AF_INET6) {
    struct in6_pktinfo packet;
    memset(&packet, 0, sizeof packet);
    packet.ipi6_addr = source.v6.sin6_addr;
    packet.ipi6_ifindex = source.v6.sin6_scope_id;
    return add_control(control, used, IPPROTO_IPV6, IPV6_PKTINFO, &packet, sizeof packet);
  }
  return used;
}

/*
 * Makes the message of the group that begins at `row`. Returns its rows; 0 and thrown if a column is wrong. Rows of one
 * message are equally long but the last, which may be shorter: the kernel cuts where we joined.
 */
static size_t make_message(struct arguments *a, const struct sent *sent, size_t row, struct msghdr *message,
                           struct iovec *parts, union sent_control *control) {
  size_t bytes, rows = gather(a, &sent->frames, &sent->group, row, SEGMENTS_MAXIMUM, parts, &bytes);
  if (rows == 0) return 0;
  for (size_t i = 1; i < rows; i++) {
    bool is_last = i + 1 == rows;
    if (parts[i].iov_len == parts[0].iov_len || (is_last && parts[i].iov_len > 0 && parts[i].iov_len < parts[0].iov_len)) continue;
    throw_range(a, "row %zu has %zu bytes in a group of %zu bytes a row", row + i, parts[i].iov_len, parts[0].iov_len);
    return 0;
  }
  int32_t index = read_row(&sent->to_index, row);
  int tos = read_row(&sent->tos, row), ttl = read_row(&sent->ttl, row);
  memset(message, 0, sizeof *message);
  if (index < 0) {
    throw_range(a, "toIndex of row %zu is %d: a datagram needs a destination", row, index);
    return 0;
  }
  if (tos < UNSET || tos > 255 || ttl < UNSET || ttl > 255) {
    throw_range(a, "row %zu has TOS %d and TTL %d: expected -1 to 255", row, tos, ttl);
    return 0;
  }
  if (!point_to(a, &sent->to, index, row, message)) return 0;
  message->msg_iov = parts;
  message->msg_iovlen = rows;

  sa_family_t family;
  memcpy(&family, message->msg_name, sizeof family);
  bool is_v6 = family == AF_INET6;
  memset(control, 0, sizeof *control);
  size_t used = add_source(control->bytes, 0, sent->from.data + (size_t)index * ADDRESS_SLOT);
  if (tos != UNSET)
    used = add_control(control->bytes, used, is_v6 ? IPPROTO_IPV6 : IPPROTO_IP, is_v6 ? IPV6_TCLASS : IP_TOS, &tos, sizeof tos);
  if (ttl != UNSET)
    used = add_control(control->bytes, used, is_v6 ? IPPROTO_IPV6 : IPPROTO_IP, is_v6 ? IPV6_HOPLIMIT : IP_TTL, &ttl, sizeof ttl);
  if (sent->mark != 0) used = add_control(control->bytes, used, SOL_SOCKET, SO_MARK, &sent->mark, sizeof sent->mark);
  if (rows > 1) {
    uint16_t segment = (uint16_t)parts[0].iov_len;
    used = add_control(control->bytes, used, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment);
  }
  message->msg_control = used == 0 ? NULL : control->bytes;
  message->msg_controllen = used;
  return rows;
}

/* sendSegments(fd, arena, offset, length, first, count, to, from, toIndex, group, tos, ttl, errors, mark) */
static napi_value send_segments(napi_env env, napi_callback_info info) {
  struct arguments a;
  struct sent sent;
  struct msghdr unused;
  struct iovec parts[MESSAGES][SEGMENTS_MAXIMUM];
  union sent_control controls[MESSAGES];
  struct mmsghdr messages[MESSAGES];
  size_t rows_of[MESSAGES];
  if (!arguments_load(&a, env, info, "sendSegments", 14)) return NULL;
  int fd = take_descriptor(&a, 0);
  sent.frames = take_frames(&a, 1);
  sent.to = take_bytes(&a, 6, "to");
  sent.from = take_bytes(&a, 7, "from");
  sent.to_index = take_rows_column(&a, 8, "toIndex", sent.frames.rows);
  sent.group = take_rows_column(&a, 9, "group", sent.frames.rows);
  sent.tos = take_rows_column(&a, 10, "tos", sent.frames.rows);
  sent.ttl = take_rows_column(&a, 11, "ttl", sent.frames.rows);
  sent.errors = take_rows_column(&a, 12, "errors", sent.frames.rows);
  sent.mark = (uint32_t)take_integer(&a, 13, "mark", 0, UINT32_MAX);
  if (a.failed) return NULL;
  if (sent.from.length < sent.to.length)
    return throw_range(&a, "from has %zu address slots, to has %zu", sent.from.length / ADDRESS_SLOT, sent.to.length / ADDRESS_SLOT);
  for (size_t row = sent.frames.rows.first, rows; row < sent.frames.rows.end; row += rows)
    if ((rows = make_message(&a, &sent, row, &unused, parts[0], &controls[0])) == 0) return NULL;

  size_t row = sent.frames.rows.first;
  while (row < sent.frames.rows.end) {
    size_t wanted = 0;
    for (size_t next = row; wanted < MESSAGES && next < sent.frames.rows.end; next += rows_of[wanted++]) {
      rows_of[wanted] = make_message(&a, &sent, next, &messages[wanted].msg_hdr, parts[wanted], &controls[wanted]);
      if (rows_of[wanted] == 0) return NULL;
    }
    for (size_t done = 0; done < wanted;) {
      int count = sendmmsg(fd, messages + done, (unsigned int)(wanted - done), MSG_DONTWAIT | MSG_NOSIGNAL);
      int number = count > 0 ? 0 : count < 0 ? errno : EAGAIN;
      if (number == EINTR) continue;
      if (number == EAGAIN || number == ENOBUFS) return number_result(&a, (int64_t)(row - sent.frames.rows.first));
      if (is_fatal(number)) return throw_system(&a, number, "send to fd %d", fd);
      /* One message refused, or `count` of them taken. */
      for (int i = 0; i < (number == 0 ? count : 1); i++, done++)
        for (size_t end = row + rows_of[done]; row < end; row++) write_row(&sent.errors, row, number);
    }
  }
  return number_result(&a, (int64_t)(row - sent.frames.rows.first));
}

/* What receiveSegments fills beside the frames. */
struct received {
  struct frames frames;
  struct bytes from, local;
  struct column segment, tos;
};

/* Segment size, TOS and local address of a row, from the control messages. */
static void read_control(const struct received *received, size_t row, struct msghdr *message) {
  int segment = 0, tos = 0;
  uint8_t *local = received->local.data + row * ADDRESS_SLOT;
  memset(local, 0, ADDRESS_SLOT);
  for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL; part = CMSG_NXTHDR(message, part)) {
    int level = part->cmsg_level, type = part->cmsg_type;
    if (level == IPPROTO_UDP && type == UDP_GRO) {
      memcpy(&segment, CMSG_DATA(part), sizeof segment);
    } else if (level == IPPROTO_IP && type == IP_TOS) {
      tos = *(uint8_t *)CMSG_DATA(part);
    } else if (level == IPPROTO_IPV6 && type == IPV6_TCLASS) {
      memcpy(&tos, CMSG_DATA(part), sizeof tos);
    } else if (level == IPPROTO_IP && type == IP_PKTINFO) {
      struct in_pktinfo packet;
      struct sockaddr_in address = {.sin_family = AF_INET};
      memcpy(&packet, CMSG_DATA(part), sizeof packet);
      address.sin_addr = packet.ipi_addr;
      memcpy(local, &address, sizeof address);
    } else if (level == IPPROTO_IPV6 && type == IPV6_PKTINFO) {
      struct in6_pktinfo packet;
      struct sockaddr_in6 address = {.sin6_family = AF_INET6};
      memcpy(&packet, CMSG_DATA(part), sizeof packet);
      address.sin6_addr = packet.ipi6_addr;
      if (IN6_IS_ADDR_LINKLOCAL(&packet.ipi6_addr)) address.sin6_scope_id = packet.ipi6_ifindex;
      memcpy(local, &address, sizeof address);
    }
  }
  write_row(&received->segment, row, segment);
  write_row(&received->tos, row, tos);
}

/* receiveSegments(fd, arena, offset, length, first, count, capacity, from, local, segment, tos) */
static napi_value receive_segments(napi_env env, napi_callback_info info) {
  struct arguments a;
  struct received received;
  struct mmsghdr messages[MESSAGES];
  struct iovec parts[MESSAGES];
  union received_control controls[MESSAGES];
  if (!arguments_load(&a, env, info, "receiveSegments", 11)) return NULL;
  int fd = take_descriptor(&a, 0);
  received.frames = take_frames(&a, 1);
  struct rows rows = received.frames.rows;
  int64_t capacity = take_integer(&a, 6, "capacity", 1, INT32_MAX);
  received.from = take_row_slots(&a, 7, "from", rows);
  received.local = take_row_slots(&a, 8, "local", rows);
  received.segment = take_rows_column(&a, 9, "segment", rows);
  received.tos = take_rows_column(&a, 10, "tos", rows);
  if (a.failed || !check_capacities(&a, &received.frames, capacity)) return NULL;
  if (received.from.data == NULL || received.local.data == NULL) {
    if (rows.end == rows.first) return number_result(&a, 0);
    return throw_type(&a, "from and local must have a slot for each row");
  }

  size_t row = rows.first;
  bool may_retry = true;
  while (row < rows.end) {
    size_t wanted = rows.end - row < MESSAGES ? rows.end - row : MESSAGES;
    for (size_t i = 0; i < wanted; i++) {
      memset(&messages[i], 0, sizeof messages[i]);
      if (!point_at(&a, &received.frames, row + i, capacity, &parts[i])) return NULL;
      messages[i].msg_hdr.msg_iov = &parts[i];
      messages[i].msg_hdr.msg_iovlen = 1;
      messages[i].msg_hdr.msg_control = controls[i].bytes;
      messages[i].msg_hdr.msg_controllen = sizeof controls[i].bytes;
      prepare_name(&messages[i].msg_hdr, &received.from, row + i);
    }
    int got = recvmmsg(fd, messages, (unsigned int)wanted, MSG_DONTWAIT, NULL);
    if (got < 0) {
      if (errno == EAGAIN) break;
      if (is_fatal(errno) || errno == ENOTCONN || errno == EOPNOTSUPP)
        return throw_system(&a, errno, "receive from fd %d", fd);
      /* An error left by an earlier packet is reported once and then forgotten. */
      if (!may_retry && errno != EINTR) break;
      may_retry = errno == EINTR;
      continue;
    }
    for (int i = 0; i < got; i++, row++) {
      bool is_cut = (messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0;
      write_row(&received.frames.length, row, is_cut ? CUT : (int32_t)messages[i].msg_len);
      read_control(&received, row, &messages[i].msg_hdr);
    }
    if ((size_t)got < wanted) break;
  }
  return number_result(&a, (int64_t)(row - rows.first));
}

const struct call segment_calls[] = {
    {"sendSegments", send_segments},
    {"receiveSegments", receive_segments},
    {NULL, NULL},
};
