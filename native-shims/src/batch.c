/*
 * Batches of packets: TAP frames by readv and write, socket packets by recvmmsg and sendmmsg.
 *
 * Every row is checked before the first system call, and once more from the very copy that the kernel gets, since
 * another thread may write the columns. Nothing here allocates: message headers live on the stack, CHUNK at a time.
 */
#include <unistd.h>

#include "batch.h"
#include "vlan.h"

/* readFrames(fd, arena, offset, length, first, count, capacity, budget) */
static napi_value read_frames(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "readFrames", 8)) return NULL;
  int fd = take_descriptor(&a, 0);
  struct frames frames = take_frames(&a, 1);
  int64_t capacity = take_integer(&a, 6, "capacity", 0, INT32_MAX);
  int64_t budget = take_integer(&a, 7, "budget", 0, INT32_MAX);
  if (a.failed || !check_capacities(&a, &frames, capacity)) return NULL;

  size_t row = frames.rows.first;
  while (row < frames.rows.end && budget > 0) {
    /* One byte more than fits, to see that a frame was longer. */
    uint8_t beyond;
    struct iovec parts[2] = {{NULL, 0}, {&beyond, 1}};
    if (!point_at(&a, &frames, row, capacity, &parts[0])) return NULL;
    ssize_t got = readv(fd, parts, 2);
    if (got > 0) {
      write_row(&frames.length, row, got > capacity ? CUT : (int32_t)got);
      budget -= got;
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

size_t gather(struct arguments *a, const struct frames *frames, const struct column *group, size_t first, size_t most,
              struct iovec *parts, size_t *bytes) {
  int32_t rows = read_row(group, first);
  if (rows < 1 || (size_t)rows > most || (size_t)rows > frames->rows.end - first) {
    throw_range(a, "group of row %zu is %d: expected 1 to %zu rows, of which %zu are left", first, rows, most,
                frames->rows.end - first);
    return 0;
  }
  *bytes = 0;
  for (size_t i = 0; i < (size_t)rows; i++) {
    if (!point_at(a, frames, first + i, read_row(&frames->length, first + i), &parts[i])) return 0;
    *bytes += parts[i].iov_len;
  }
  return (size_t)rows;
}

/* writeGroups(fd, arena, offset, length, first, count, group, errors) */
static napi_value write_groups(napi_env env, napi_callback_info info) {
  struct arguments a;
  struct iovec parts[GROUP_MAXIMUM];
  size_t bytes;
  if (!arguments_load(&a, env, info, "writeGroups", 8)) return NULL;
  int fd = take_descriptor(&a, 0);
  struct frames frames = take_frames(&a, 1);
  struct column group = take_rows_column(&a, 6, "group", frames.rows);
  struct column errors = take_rows_column(&a, 7, "errors", frames.rows);
  if (a.failed) return NULL;
  for (size_t row = frames.rows.first, rows; row < frames.rows.end; row += rows)
    if ((rows = gather(&a, &frames, &group, row, GROUP_MAXIMUM, parts, &bytes)) == 0) return NULL;

  size_t row = frames.rows.first;
  while (row < frames.rows.end) {
    size_t rows = gather(&a, &frames, &group, row, GROUP_MAXIMUM, parts, &bytes);
    if (rows == 0) return NULL;
    ssize_t written = writev(fd, parts, (int)rows);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && (errno == EAGAIN || errno == ENOBUFS)) break;
    if (written < 0 && is_fatal(errno)) return throw_system(&a, errno, "write frames to fd %d", fd);
    write_row(&errors, row, written < 0 ? errno : 0);
    row += rows;
  }
  return number_result(&a, (int64_t)(row - frames.rows.first));
}

/* Where the Ethernet header of a frame begins, for sockets that tell the VLAN tag beside it; other packets have none. */
#define NO_ETHERNET (-1)

/* Rows by recvmmsg: `ethernet` bytes stand before the Ethernet header of each, and room for the VLAN tag is kept free. */
static napi_value receive(struct arguments *a, int fd, const struct frames *frames, int64_t capacity, const struct bytes *from,
                          int64_t ethernet) {
  struct mmsghdr messages[CHUNK];
  struct iovec parts[CHUNK];
  union auxiliary beside[CHUNK];
  int64_t kept = ethernet == NO_ETHERNET ? 0 : capacity < VLAN_TAG ? capacity : VLAN_TAG;
  size_t row = frames->rows.first;
  bool may_retry = true;
  while (row < frames->rows.end) {
    size_t wanted = frames->rows.end - row < CHUNK ? frames->rows.end - row : CHUNK;
    for (size_t i = 0; i < wanted; i++) {
      memset(&messages[i], 0, sizeof messages[i]);
      if (!point_at(a, frames, row + i, capacity, &parts[i])) return NULL;
      parts[i].iov_len -= (size_t)kept;
      messages[i].msg_hdr.msg_iov = &parts[i];
      messages[i].msg_hdr.msg_iovlen = 1;
      prepare_name(&messages[i].msg_hdr, from, row + i);
      if (ethernet == NO_ETHERNET) continue;
      messages[i].msg_hdr.msg_control = beside[i].bytes;
      messages[i].msg_hdr.msg_controllen = sizeof beside[i].bytes;
    }
    int got = recvmmsg(fd, messages, (unsigned int)wanted, MSG_DONTWAIT, NULL);
    if (got < 0) {
      if (errno == EAGAIN) break;
      if (is_fatal(errno) || errno == ENOTCONN || errno == EOPNOTSUPP)
        return throw_system(a, errno, "receive from fd %d", fd);
      /* An error left by an earlier packet (ICMP, device went down) is reported once and then forgotten. */
      if (!may_retry && errno != EINTR) break;
      may_retry = errno == EINTR;
      continue;
    }
    for (size_t i = 0; i < (size_t)got; i++) {
      size_t length = messages[i].msg_len;
      bool cut = (messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0;
      if (!cut && kept == VLAN_TAG) length += put_tag_back(parts[i].iov_base, length, (size_t)ethernet, &messages[i].msg_hdr);
      write_row(&frames->length, row + i, cut ? CUT : (int32_t)length);
    }
    row += (size_t)got;
    if ((size_t)got < wanted) break;
  }
  return number_result(a, (int64_t)(row - frames->rows.first));
}

/* receiveBatch(fd, arena, offset, length, first, count, capacity, from?) */
static napi_value receive_batch(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "receiveBatch", 7)) return NULL;
  int fd = take_descriptor(&a, 0);
  struct frames frames = take_frames(&a, 1);
  int64_t capacity = take_integer(&a, 6, "capacity", 0, INT32_MAX);
  struct bytes from = take_row_slots(&a, 7, "from", frames.rows);
  if (a.failed || !check_capacities(&a, &frames, capacity)) return NULL;
  return receive(&a, fd, &frames, capacity, &from, NO_ETHERNET);
}

/* receiveDevice(fd, arena, offset, length, first, count, capacity, vnetHeader) */
static napi_value receive_device(napi_env env, napi_callback_info info) {
  struct arguments a;
  struct bytes nowhere = {NULL, 0};
  if (!arguments_load(&a, env, info, "receiveDevice", 8)) return NULL;
  int fd = take_descriptor(&a, 0);
  struct frames frames = take_frames(&a, 1);
  int64_t capacity = take_integer(&a, 6, "capacity", 0, INT32_MAX);
  bool vnet_header = take_boolean(&a, 7, "vnetHeader");
  if (a.failed || !check_capacities(&a, &frames, capacity)) return NULL;
  return receive(&a, fd, &frames, capacity, &nowhere, vnet_header ? VNET_HEADER : 0);
}

/* sendBatch(fd, arena, offset, length, first, count, to, toIndex, errors) */
static napi_value send_batch(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "sendBatch", 9)) return NULL;
  int fd = take_descriptor(&a, 0);
  struct frames frames = take_frames(&a, 1);
  struct bytes to = take_bytes(&a, 6, "to");
  struct column to_index = take_rows_column(&a, 7, "toIndex", frames.rows);
  struct column errors = take_rows_column(&a, 8, "errors", frames.rows);
  if (a.failed || !check_frames(&a, &frames)) return NULL;
  for (size_t row = frames.rows.first; row < frames.rows.end; row++) {
    struct msghdr unused;
    if (!point_to(&a, &to, read_row(&to_index, row), row, &unused)) return NULL;
  }

  struct mmsghdr messages[CHUNK];
  struct iovec parts[CHUNK];
  size_t row = frames.rows.first;
  while (row < frames.rows.end) {
    size_t wanted = frames.rows.end - row < CHUNK ? frames.rows.end - row : CHUNK;
    for (size_t i = 0; i < wanted; i++) {
      memset(&messages[i], 0, sizeof messages[i]);
      if (!point_at(&a, &frames, row + i, read_row(&frames.length, row + i), &parts[i]) ||
          !point_to(&a, &to, read_row(&to_index, row + i), row + i, &messages[i].msg_hdr))
        return NULL;
      messages[i].msg_hdr.msg_iov = &parts[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    size_t done = 0;
    while (done < wanted) {
      int sent = sendmmsg(fd, messages + done, (unsigned int)(wanted - done), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent > 0) {
        for (int i = 0; i < sent; i++) write_row(&errors, row + done++, 0);
        continue;
      }
      int number = sent < 0 ? errno : EAGAIN;
      if (number == EINTR) continue;
      if (number == EAGAIN || number == ENOBUFS) return number_result(&a, (int64_t)(row + done - frames.rows.first));
      if (is_fatal(number)) return throw_system(&a, number, "send to fd %d", fd);
      write_row(&errors, row + done++, number);
    }
    row += wanted;
  }
  return number_result(&a, (int64_t)(row - frames.rows.first));
}

const struct call batch_calls[] = {
    {"readFrames", read_frames},
    {"writeFrames", write_frames},
    {"writeGroups", write_groups},
    {"receiveBatch", receive_batch},
    {"receiveDevice", receive_device},
    {"sendBatch", send_batch},
    {NULL, NULL},
};
