/* Taking and checking arguments: see arguments.h. */
#include "arguments.h"

#include <math.h>
#include <string.h>

bool arguments_load(struct arguments *a, napi_env env, napi_callback_info info, const char *call, size_t expected) {
  void *data = NULL;
  a->env = env;
  a->call = call;
  a->failed = false;
  a->count = ARGUMENTS_MAXIMUM;
  if (napi_get_cb_info(env, info, &a->count, a->value, NULL, &data) != napi_ok) {
    a->failed = true;
    return false;
  }
  a->self = data;
  if (a->count < expected) {
    throw_type(a, "%zu arguments came, %zu are needed", a->count, expected);
    return false;
  }
  return true;
}

bool is_given(struct arguments *a, size_t index) {
  napi_valuetype type;
  return index < a->count && napi_typeof(a->env, a->value[index], &type) == napi_ok && type != napi_undefined;
}

int64_t take_integer(struct arguments *a, size_t index, const char *name, int64_t minimum, int64_t maximum) {
  double number;
  if (a->failed) return 0;
  if (napi_get_value_double(a->env, a->value[index], &number) != napi_ok) {
    throw_type(a, "%s must be a number", name);
    return 0;
  }
  if (!isfinite(number) || number != trunc(number) || number < (double)minimum) {
    throw_type(a, "%s = %g must be an integer from %lld to %lld", name, number, (long long)minimum, (long long)maximum);
    return 0;
  }
  if (number > (double)maximum) {
    throw_range(a, "%s = %.0f is larger than %lld", name, number, (long long)maximum);
    return 0;
  }
  return (int64_t)number;
}

int take_descriptor(struct arguments *a, size_t index) { return (int)take_integer(a, index, "fd", 0, INT32_MAX); }

bool take_boolean(struct arguments *a, size_t index, const char *name) {
  bool value = false;
  if (a->failed) return false;
  if (napi_get_value_bool(a->env, a->value[index], &value) != napi_ok) throw_type(a, "%s must be true or false", name);
  return value;
}

void take_text(struct arguments *a, size_t index, const char *name, char *text, size_t size, size_t minimum) {
  size_t length = 0;
  text[0] = 0;
  if (a->failed) return;
  if (napi_get_value_string_utf8(a->env, a->value[index], NULL, 0, &length) != napi_ok) {
    throw_type(a, "%s must be a string", name);
    return;
  }
  if (length < minimum || length >= size) {
    throw_range(a, "%s has %zu bytes, %zu to %zu are allowed", name, length, minimum, size - 1);
    return;
  }
  if (napi_get_value_string_utf8(a->env, a->value[index], text, size, &length) != napi_ok || strlen(text) != length) {
    text[0] = 0;
    throw_type(a, "%s must not contain NUL", name);
  }
}

/* The memory of a typed array of the wanted kind; NULL memory and length 0 where it throws. */
static void *take_array(struct arguments *a, size_t index, const char *name, napi_typedarray_type wanted, size_t *length) {
  napi_typedarray_type type;
  void *data = NULL;
  *length = 0;
  if (a->failed) return NULL;
  if (napi_get_typedarray_info(a->env, a->value[index], &type, length, &data, NULL, NULL) != napi_ok || type != wanted) {
    *length = 0;
    throw_type(a, "%s must be %s", name, wanted == napi_uint8_array ? "a Uint8Array" : "an Int32Array");
    return NULL;
  }
  if (*length != 0) return data;

  napi_value buffer;
  bool detached = false;
  if (napi_get_typedarray_info(a->env, a->value[index], NULL, NULL, NULL, &buffer, NULL) == napi_ok &&
      napi_is_detached_arraybuffer(a->env, buffer, &detached) == napi_ok && detached)
    throw_type(a, "the buffer of %s is detached", name);
  return NULL;
}

struct bytes take_bytes(struct arguments *a, size_t index, const char *name) {
  struct bytes bytes;
  bytes.data = take_array(a, index, name, napi_uint8_array, &bytes.length);
  return bytes;
}

struct column take_column(struct arguments *a, size_t index, const char *name) {
  struct column column;
  column.data = take_array(a, index, name, napi_int32_array, &column.length);
  return column;
}

struct rows take_rows(struct arguments *a, size_t index) {
  struct rows rows;
  rows.first = (size_t)take_integer(a, index, "first", 0, INT32_MAX);
  rows.end = rows.first + (size_t)take_integer(a, index + 1, "count", 0, INT32_MAX);
  return rows;
}

struct column take_rows_column(struct arguments *a, size_t index, const char *name, struct rows rows) {
  struct column column = take_column(a, index, name);
  if (!a->failed && rows.end > column.length)
    throw_range(a, "rows %zu to %zu are outside column %s of %zu rows", rows.first, rows.end, name, column.length);
  return column;
}

struct frames take_frames(struct arguments *a, size_t index) {
  struct frames frames;
  frames.rows = take_rows(a, index + 3);
  frames.arena = take_bytes(a, index, "arena");
  frames.offset = take_rows_column(a, index + 1, "offset", frames.rows);
  frames.length = take_rows_column(a, index + 2, "length", frames.rows);
  return frames;
}

napi_value throw_outside(struct arguments *a, const char *name, size_t row, int64_t offset, int64_t length, size_t arena) {
  return throw_range(a, "%s of row %zu (offset %lld, length %lld) is outside the arena of %zu bytes", name, row,
                     (long long)offset, (long long)length, arena);
}

bool check_frames(struct arguments *a, const struct frames *frames) {
  for (size_t row = frames->rows.first; !a->failed && row < frames->rows.end; row++) {
    int32_t offset = read_row(&frames->offset, row), length = read_row(&frames->length, row);
    if (!is_within(frames->arena.length, offset, length))
      throw_outside(a, "packet", row, offset, length, frames->arena.length);
  }
  return !a->failed;
}

bool check_capacities(struct arguments *a, const struct frames *frames, int64_t capacity) {
  for (size_t row = frames->rows.first; !a->failed && row < frames->rows.end; row++) {
    int32_t offset = read_row(&frames->offset, row);
    if (!is_within(frames->arena.length, offset, capacity))
      throw_outside(a, "space", row, offset, capacity, frames->arena.length);
  }
  return !a->failed;
}

napi_value number_result(struct arguments *a, int64_t number) {
  napi_value value = NULL;
  napi_create_int64(a->env, number, &value);
  return value;
}
