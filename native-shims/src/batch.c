/*
 * Batches of packets: TAP frames by readv and write, socket packets by recvmmsg and sendmmsg.
 *
 * Every row is checked before the first system call, and once more from the very copy that the kernel gets, since
 * another thread may write the columns. Nothing here allocates: message headers live on the stack, CHUNK at a time.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "arguments.h"

/* Rows of one recvmmsg or sendmmsg. */
#define CHUNK 128
/* ADDRESS_SLOT of types.ts. */
#define ADDRESS_SLOT sizeof(struct sockaddr_in6)
/* length[i] of a frame that did not fit. */
#define CUT (-1)

_Static_assert(ADDRESS_SLOT == 28, "types.ts says 28");

/* Row as an iovec of `length` bytes; false and thrown if it is outside the arena. */
static inline bool point_at(struct arguments *a, const struct frames *frames, size_t row, int64_t length, struct iovec *to) {
  int32_t offset = read_row(&frames->offset, row);
  if (!is_within(frames->arena.length, offset, length)) {
    throw_outside(a, "packet", row, offset, length, frames->arena.length);
    return false;
  }
  to->iov_base = frames->arena.data + offset;
  to->iov_len = (size_t)length;
  return true;
}

/* Errors that concern the descriptor, not one packet. */
static bool is_fatal(int number) {
  return number == EBADF || number == EBADFD || number == ENOTSOCK || number == EFAULT || number == EISDIR;
}

/* readFrames(fd, arena, offset, length, first, count, capacity) */
static napi_value read_frames(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "readFrames", 7)) return NULL;
  int fd = take_descriptor(&a, 0);
  struct frames frames = take_frames(&a, 1);
  int64_t capacity = take_integer(&a, 6, "capacity", 0, INT32_MAX);
  if (a.failed || !check_capacities(&a, &frames, capacity)) return NULL;

  size_t row = frames.rows.first;
  while (row < frames.rows.end) {
    /* One byte more than fits, to see that a frame was longer. */
    uint8_t beyond;
    struct iovec parts[2] = {{NULL, 0}, {&beyond, 1}};
    if (!point_at(&a, &frames, row, capacity, &parts[0])) return NULL;
    ssize_t got = readv(fd, parts, 2);
    if (got > 0) {
      write_row(&frames.length, row, got > capacity ? CUT : (int32_t)got);
      row++;
    } else if (got == 0 || errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      return throw_system(&a, errno, "read frames from fd %d", fd);
    }
  }
  return number_result(&a, (int64_t)(row - frames.rows.first));
}

/* writeFrames(fd, arena, offset, length, first, count, failed?) */
static napi_value write_frames(napi_env env, napi_callback_info info) {
  struct arguments a;
  struct column failed = {NULL, 0};
  if (!arguments_load(&a, env, info, "writeFrames", 6)) return NULL;
  int fd = take_descriptor(&a, 0);
  struct frames frames = take_frames(&a, 1);
  if (is_given(&a, 6)) failed = take_rows_column(&a, 6, "failed", (struct rows){0, 1});
  if (a.failed || !check_frames(&a, &frames)) return NULL;

  size_t row = frames.rows.first;
  while (row < frames.rows.end) {
    struct iovec frame;
    if (!point_at(&a, &frames, row, read_row(&frames.length, row), &frame)) return NULL;
    if (write(fd, frame.iov_base, frame.iov_len) >= 0) {
      row++;
      continue;
    }
    if (errno == EAGAIN || errno == ENOBUFS) break;
    if (is_fatal(errno)) return throw_system(&a, errno, "write frames to fd %d", fd);
    if (errno == EINTR) continue;
    if (failed.data != NULL) __atomic_fetch_add(&failed.data[0], 1, __ATOMIC_RELAXED);
    row++;
  }
  return number_result(&a, (int64_t)(row - frames.rows.first));
}

/* The address of a row: its slot in `from`, emptied, or none. */
static void prepare_name(struct msghdr *header, const struct bytes *slots, size_t row) {
  header->msg_name = slots->data == NULL ? NULL : slots->data + row * ADDRESS_SLOT;
  header->msg_namelen = slots->data == NULL ? 0 : ADDRESS_SLOT;
  if (header->msg_name != NULL) memset(header->msg_name, 0, ADDRESS_SLOT);
}

/* receiveBatch(fd, arena, offset, length, first, count, capacity, from?) */
static napi_value receive_batch(napi_env env, napi_callback_info info) {
  struct arguments a;
  struct bytes from = {NULL, 0};
  if (!arguments_load(&a, env, info, "receiveBatch", 7)) return NULL;
  int fd = take_descriptor(&a, 0);
  struct frames frames = take_frames(&a, 1);
  int64_t capacity = take_integer(&a, 6, "capacity", 0, INT32_MAX);
  if (is_given(&a, 7)) {
    from = take_bytes(&a, 7, "from");
    if (!a.failed && from.length / ADDRESS_SLOT < frames.rows.end)
      throw_range(&a, "from has %zu address slots, rows %zu to %zu are asked for", from.length / ADDRESS_SLOT,
                  frames.rows.first, frames.rows.end);
  }
  if (a.failed || !check_capacities(&a, &frames, capacity)) return NULL;

  struct mmsghdr messages[CHUNK];
  struct iovec parts[CHUNK];
  size_t row = frames.rows.first;
  bool may_retry = true;
  while (row < frames.rows.end) {
    size_t wanted = frames.rows.end - row < CHUNK ? frames.rows.end - row : CHUNK;
    for (size_t i = 0; i < wanted; i++) {
      memset(&messages[i], 0, sizeof messages[i]);
      if (!point_at(&a, &frames, row + i, capacity, &parts[i])) return NULL;
      messages[i].msg_hdr.msg_iov = &parts[i];
      messages[i].msg_hdr.msg_iovlen = 1;
      prepare_name(&messages[i].msg_hdr, &from, row + i);
    }
    int got = recvmmsg(fd, messages, (unsigned int)wanted, MSG_DONTWAIT, NULL);
    if (got < 0) {
      if (errno == EAGAIN) break;
      if (is_fatal(errno) || errno == EINVAL || errno == ENOTCONN || errno == EOPNOTSUPP)
        return throw_system(&a, errno, "receive from fd %d", fd);
      /* An error left by an earlier packet (ICMP, device went down) is reported once and then forgotten. */
      if (!may_retry && errno != EINTR) break;
      may_retry = errno == EINTR;
      continue;
    }
    for (int i = 0; i < got; i++)
      write_row(&frames.length, row + (size_t)i,
                (messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0 ? CUT : (int32_t)messages[i].msg_len);
    row += (size_t)got;
    if ((size_t)got < wanted) break;
  }
  return number_result(&a, (int64_t)(row - frames.rows.first));
}

/* The columns that sendBatch has beside those of the frames. */
struct destinations {
  struct bytes slots;
  struct column index;
  struct column errors;
};

/* Points the message to the slot of the row; index < 0: none. False and thrown if there is no such slot. */
static bool point_to(struct arguments *a, const struct destinations *to, size_t row, struct msghdr *header) {
  int32_t index = read_row(&to->index, row);
  if (index < 0) return true;
  if ((size_t)index >= to->slots.length / ADDRESS_SLOT) {
    throw_range(a, "toIndex of row %zu is %d, there are %zu address slots", row, index, to->slots.length / ADDRESS_SLOT);
    return false;
  }
  sa_family_t family;
  header->msg_name = to->slots.data + (size_t)index * ADDRESS_SLOT;
  memcpy(&family, header->msg_name, sizeof family);
  header->msg_namelen = family == AF_INET ? sizeof(struct sockaddr_in) : ADDRESS_SLOT;
  return true;
}

/* sendBatch(fd, arena, offset, length, first, count, to, toIndex, errors) */
static napi_value send_batch(napi_env env, napi_callback_info info) {
  struct arguments a;
  struct destinations to;
  if (!arguments_load(&a, env, info, "sendBatch", 9)) return NULL;
  int fd = take_descriptor(&a, 0);
  struct frames frames = take_frames(&a, 1);
  to.slots = take_bytes(&a, 6, "to");
  to.index = take_rows_column(&a, 7, "toIndex", frames.rows);
  to.errors = take_rows_column(&a, 8, "errors", frames.rows);
  if (a.failed || !check_frames(&a, &frames)) return NULL;
  for (size_t row = frames.rows.first; row < frames.rows.end; row++) {
    struct msghdr unused;
    if (!point_to(&a, &to, row, &unused)) return NULL;
  }

  struct mmsghdr messages[CHUNK];
  struct iovec parts[CHUNK];
  size_t row = frames.rows.first;
  while (row < frames.rows.end) {
    size_t wanted = frames.rows.end - row < CHUNK ? frames.rows.end - row : CHUNK;
    for (size_t i = 0; i < wanted; i++) {
      memset(&messages[i], 0, sizeof messages[i]);
      if (!point_at(&a, &frames, row + i, read_row(&frames.length, row + i), &parts[i]) ||
          !point_to(&a, &to, row + i, &messages[i].msg_hdr))
        return NULL;
      messages[i].msg_hdr.msg_iov = &parts[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    size_t done = 0;
    while (done < wanted) {
      int sent = sendmmsg(fd, messages + done, (unsigned int)(wanted - done), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent > 0) {
        for (int i = 0; i < sent; i++) write_row(&to.errors, row + done++, 0);
        continue;
      }
      int number = sent < 0 ? errno : EAGAIN;
      if (number == EINTR) continue;
      if (number == EAGAIN || number == ENOBUFS) return number_result(&a, (int64_t)(row + done - frames.rows.first));
      if (is_fatal(number)) return throw_system(&a, number, "send to fd %d", fd);
      write_row(&to.errors, row + done++, number);
    }
    row += wanted;
  }
  return number_result(&a, (int64_t)(row - frames.rows.first));
}

const struct call batch_calls[] = {
    {"readFrames", read_frames},
    {"writeFrames", write_frames},
    {"receiveBatch", receive_batch},
    {"sendBatch", send_batch},
    {NULL, NULL},
};
