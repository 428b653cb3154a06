/*
 * Arguments of a call: taken from JavaScript, checked once, then plain C values.
 *
 * The first bad argument throws and sets `failed`; what is taken after that is empty or zero, so a call takes all its
 * arguments and then looks at `failed` once. Values of the wrong type, fractions, negative numbers and detached
 * buffers throw TypeError; numbers too large, and rows or ranges outside a column or the arena, throw RangeError.
 *
 * Columns may lie in memory that other threads write. So a value is read once (read_row), checked, and the copy used.
 */
#ifndef OVS_ESPD_ARGUMENTS_H
#define OVS_ESPD_ARGUMENTS_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addon.h"
#include "error.h"

#define ARGUMENTS_MAXIMUM 14

struct arguments {
  napi_env env;
  struct instance *self;
  const char *call;
  bool failed;
  size_t count;
  napi_value value[ARGUMENTS_MAXIMUM];
};

struct bytes {
  uint8_t *data;
  size_t length;
};

struct column {
  int32_t *data;
  size_t length;
};

/* Rows first..end-1 of a batch. */
struct rows {
  size_t first;
  size_t end;
};

/* The columns of a batch of frames, see FrameColumns in types.ts. */
struct frames {
  struct bytes arena;
  struct column offset;
  struct column length;
  struct rows rows;
};

/* False (and thrown) unless at least `expected` arguments came. */
bool arguments_load(struct arguments *a, napi_env env, napi_callback_info info, const char *call, size_t expected);

int64_t take_integer(struct arguments *a, size_t index, const char *name, int64_t minimum, int64_t maximum);
/* A file descriptor, 0 or more. */
int take_descriptor(struct arguments *a, size_t index);
bool take_boolean(struct arguments *a, size_t index, const char *name);
/* A string of minimum..size-1 bytes of UTF-8 without NUL, put into text with a NUL behind it. */
void take_text(struct arguments *a, size_t index, const char *name, char *text, size_t size, size_t minimum);
/* Uint8Array over any kind of buffer. */
struct bytes take_bytes(struct arguments *a, size_t index, const char *name);
/* Int32Array over any kind of buffer. */
struct column take_column(struct arguments *a, size_t index, const char *name);
bool is_given(struct arguments *a, size_t index);
/* Two arguments: first and count. */
struct rows take_rows(struct arguments *a, size_t index);
/* A column that must reach to the end of the rows. */
struct column take_rows_column(struct arguments *a, size_t index, const char *name, struct rows rows);
/* Five arguments: arena, offset, length, first, count. */
struct frames take_frames(struct arguments *a, size_t index);

/* Checks all rows: offset[i] and length[i], or offset[i] and a fixed capacity, lie within the arena. */
bool check_frames(struct arguments *a, const struct frames *frames);
bool check_capacities(struct arguments *a, const struct frames *frames, int64_t capacity);
napi_value throw_outside(struct arguments *a, const char *name, size_t row, int64_t offset, int64_t length, size_t arena);

napi_value number_result(struct arguments *a, int64_t number);

static inline bool is_within(size_t arena, int64_t offset, int64_t length) {
  return offset >= 0 && length >= 0 && (uint64_t)offset <= arena && (uint64_t)length <= arena - (uint64_t)offset;
}

static inline int32_t read_row(const struct column *column, size_t row) {
  return __atomic_load_n(&column->data[row], __ATOMIC_RELAXED);
}

static inline void write_row(const struct column *column, size_t row, int32_t value) {
  __atomic_store_n(&column->data[row], value, __ATOMIC_RELAXED);
}

#endif
