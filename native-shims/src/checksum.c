/*
 * The internet checksum (RFC 1071): the ones' complement sum of 16-bit words, folded, not complemented.
 * Section 2 (B): the sum may be taken in either byte order and swapped at the end, so words are added as they lie in
 * memory, 32 bits at a time into 64-bit counters that cannot overflow below 2^32 words.
 */
#include <endian.h>
#include <string.h>

#include "arguments.h"

static uint32_t fold(uint64_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return (uint32_t)sum;
}

static uint32_t sum_bytes(const uint8_t *data, size_t length, uint32_t initial) {
  uint64_t even = 0, odd = 0;
  size_t i = 0;
  for (; i + 8 <= length; i += 8) {
    uint64_t word;
    memcpy(&word, data + i, sizeof word);
    even += (uint32_t)word;
    odd += word >> 32;
  }
  /* What is left, padded with zeros (RFC 1071 section 4.1). */
  uint8_t last[8] = {0};
  uint64_t word;
  if (i < length) memcpy(last, data + i, length - i);
  memcpy(&word, last, sizeof word);
  even += (uint32_t)word;
  odd += word >> 32;
  return fold((uint64_t)be16toh((uint16_t)fold(even + odd)) + initial);
}

/*
 * Copies and adds in one pass; the ranges do not overlap. Blocks of 64 bytes, so that the compiler may use vectors. The
 * 32-bit halves of each word are added apart, as in sum_bytes.
 */
static uint32_t copy_bytes(uint8_t *to, const uint8_t *from, size_t length) {
  uint64_t even[8] = {0}, odd[8] = {0};
  size_t i = 0;
  for (; i + 64 <= length; i += 64) {
    uint64_t words[8];
    memcpy(words, from + i, sizeof words);
    memcpy(to + i, words, sizeof words);
    for (size_t j = 0; j < 8; j++) {
      even[j] += (uint32_t)words[j];
      odd[j] += words[j] >> 32;
    }
  }
  memcpy(to + i, from + i, length - i);
  uint64_t sum = 0;
  for (size_t j = 0; j < 8; j++) sum += even[j] + odd[j];
  return sum_bytes(from + i, length - i, be16toh((uint16_t)fold(sum)));
}

/* checksum(arena, offset, length, initial) */
static napi_value checksum(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "checksum", 4)) return NULL;
  struct bytes arena = take_bytes(&a, 0, "arena");
  int64_t offset = take_integer(&a, 1, "offset", 0, INT32_MAX);
  int64_t length = take_integer(&a, 2, "length", 0, INT32_MAX);
  uint32_t initial = (uint32_t)take_integer(&a, 3, "initial", 0, UINT32_MAX);
  if (a.failed) return NULL;
  if (!is_within(arena.length, offset, length))
    return throw_range(&a, "offset %lld and length %lld are outside the arena of %zu bytes", (long long)offset,
                       (long long)length, arena.length);
  return number_result(&a, sum_bytes(length == 0 ? (const uint8_t *)"" : arena.data + offset, (size_t)length, initial));
}

/* checksumBatch(arena, offset, length, first, count, sum) */
static napi_value checksum_batch(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "checksumBatch", 6)) return NULL;
  struct frames frames = take_frames(&a, 0);
  struct column sum = take_rows_column(&a, 5, "sum", frames.rows);
  if (a.failed || !check_frames(&a, &frames)) return NULL;
  for (size_t row = frames.rows.first; row < frames.rows.end; row++) {
    int32_t offset = read_row(&frames.offset, row), length = read_row(&frames.length, row);
    if (!is_within(frames.arena.length, offset, length))
      return throw_outside(&a, "packet", row, offset, length, frames.arena.length);
    uint32_t initial = (uint32_t)read_row(&sum, row);
    write_row(&sum, row, (int32_t)sum_bytes(frames.arena.data + offset, (size_t)length, initial));
  }
  return NULL;
}

static bool overlap(int32_t one, int32_t other, int32_t length) {
  int64_t distance = (int64_t)one - other;
  return distance < length && -distance < length;
}

/* Row of copyBatch, checked; false and thrown if a range is outside the arena or copied onto itself. */
static bool take_copy(struct arguments *a, const struct frames *frames, const struct bytes *target, const struct column *to,
                      size_t row, int32_t *from, int32_t *into, int32_t *length) {
  *from = read_row(&frames->offset, row);
  *length = read_row(&frames->length, row);
  *into = read_row(to, row);
  if (!is_within(frames->arena.length, *from, *length))
    throw_outside(a, "packet", row, *from, *length, frames->arena.length);
  else if (!is_within(target->length, *into, *length))
    throw_outside(a, "copy", row, *into, *length, target->length);
  else if (target->data == frames->arena.data && overlap(*from, *into, *length))
    throw_range(a, "row %zu copies %d bytes from %d onto themselves at %d", row, *length, *from, *into);
  return !a->failed;
}

/* copyBatch(arena, offset, length, first, count, to, sum, into); `into` is the arena or another one, not one that overlaps it */
static napi_value copy_batch(napi_env env, napi_callback_info info) {
  struct arguments a;
  int32_t from, into, length;
  if (!arguments_load(&a, env, info, "copyBatch", 8)) return NULL;
  struct frames frames = take_frames(&a, 0);
  struct column to = take_rows_column(&a, 5, "to", frames.rows);
  struct column sum = take_rows_column(&a, 6, "sum", frames.rows);
  struct bytes target = take_bytes(&a, 7, "into");
  if (a.failed) return NULL;
  if (target.data != frames.arena.data && target.data < frames.arena.data + frames.arena.length &&
      frames.arena.data < target.data + target.length)
    return throw_range(&a, "into overlaps the arena");
  for (size_t row = frames.rows.first; row < frames.rows.end; row++)
    if (!take_copy(&a, &frames, &target, &to, row, &from, &into, &length)) return NULL;
  for (size_t row = frames.rows.first; row < frames.rows.end; row++) {
    if (!take_copy(&a, &frames, &target, &to, row, &from, &into, &length)) return NULL;
    write_row(&sum, row, length == 0 ? 0 : (int32_t)copy_bytes(target.data + into, frames.arena.data + from, (size_t)length));
  }
  return NULL;
}

const struct call checksum_calls[] = {
    {"checksum", checksum},
    {"checksumBatch", checksum_batch},
    {"copyBatch", copy_batch},
    {NULL, NULL},
};
