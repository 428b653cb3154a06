/* What the calls over batches of packets share: rows as iovecs, slots of socket addresses. See types.ts for both. */
#ifndef OVS_ESPD_BATCH_H
#define OVS_ESPD_BATCH_H

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "arguments.h"

/* Rows of one recvmmsg or sendmmsg. */
#define CHUNK 128
/* ADDRESS_SLOT of types.ts. */
#define ADDRESS_SLOT sizeof(struct sockaddr_in6)
/* Rows of one frame of writeGroups: a header and 64 KB in pieces of 1 KB and more; the kernel takes 1024. */
#define GROUP_MAXIMUM 256
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
static inline bool is_fatal(int number) {
  return number == EBADF || number == EBADFD || number == ENOTSOCK || number == EFAULT || number == EISDIR;
}

/* Takes address slots, one for each row; an argument that is not given is none. */
static inline struct bytes take_row_slots(struct arguments *a, size_t index, const char *name, struct rows rows) {
  struct bytes slots = {NULL, 0};
  if (!is_given(a, index)) return slots;
  slots = take_bytes(a, index, name);
  if (!a->failed && slots.length / ADDRESS_SLOT < rows.end)
    throw_range(a, "%s has %zu address slots, rows %zu to %zu are asked for", name, slots.length / ADDRESS_SLOT, rows.first,
                rows.end);
  return slots;
}

/* The address of a row: its slot in `slots`, emptied, or none. */
static inline void prepare_name(struct msghdr *header, const struct bytes *slots, size_t row) {
  header->msg_name = slots->data == NULL ? NULL : slots->data + row * ADDRESS_SLOT;
  header->msg_namelen = slots->data == NULL ? 0 : ADDRESS_SLOT;
  if (header->msg_name != NULL) memset(header->msg_name, 0, ADDRESS_SLOT);
}

/* Points the message to slot `index`; below 0: to none. False and thrown if there is no such slot. */
static inline bool point_to(struct arguments *a, const struct bytes *slots, int32_t index, size_t row, struct msghdr *header) {
  if (index < 0) return true;
  if ((size_t)index >= slots->length / ADDRESS_SLOT) {
    throw_range(a, "toIndex of row %zu is %d, there are %zu address slots", row, index, slots->length / ADDRESS_SLOT);
    return false;
  }
  sa_family_t family;
  header->msg_name = slots->data + (size_t)index * ADDRESS_SLOT;
  memcpy(&family, header->msg_name, sizeof family);
  header->msg_namelen = family == AF_INET ? sizeof(struct sockaddr_in) : ADDRESS_SLOT;
  return true;
}

/*
 * Rows that go as one: row `first` and those behind it that its `group` counts, as iovecs. Gives their number, and their
 * bytes in `bytes`; 0 and thrown if the group is empty, larger than `most` or reaches beyond `end`, or a row lies outside.
 */
size_t gather(struct arguments *a, const struct frames *frames, const struct column *group, size_t first, size_t most,
              struct iovec *parts, size_t *bytes);

#endif
