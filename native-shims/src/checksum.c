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

const struct call checksum_calls[] = {
    {"checksum", checksum},
    {"checksumBatch", checksum_batch},
    {NULL, NULL},
};
