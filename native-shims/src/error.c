/*
 * How errors reach JavaScript. Messages about arguments begin with the name of the call; a failed system call
 * becomes a NativeError(code, errno, attempted, explanation, holder), whose class lives in ../native-error.ts.
 */
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "arguments.h"

#define TEXT_BYTES 256

#define ROW(name) {name, #name}
static const struct {
  int number;
  const char *name;
} error_names[] = {
    ROW(EPERM),          ROW(ENOENT),       ROW(EINTR),        ROW(EIO),           ROW(ENXIO),        ROW(E2BIG),
    ROW(EBADF),          ROW(EAGAIN),       ROW(ENOMEM),       ROW(EACCES),        ROW(EFAULT),       ROW(EBUSY),
    ROW(EEXIST),         ROW(ENODEV),       ROW(ENOTDIR),      ROW(EISDIR),        ROW(EINVAL),       ROW(ENFILE),
    ROW(EMFILE),         ROW(ENOTTY),       ROW(EFBIG),        ROW(ENOSPC),        ROW(ESPIPE),       ROW(EROFS),
    ROW(EPIPE),          ROW(ERANGE),       ROW(EDEADLK),      ROW(ENAMETOOLONG),  ROW(ENOLCK),       ROW(ENOSYS),
    ROW(ELOOP),          ROW(EPROTO),       ROW(EBADFD),       ROW(ENOTSOCK),      ROW(EDESTADDRREQ), ROW(EMSGSIZE),
    ROW(EPROTOTYPE),     ROW(ENOPROTOOPT),  ROW(EPROTONOSUPPORT), ROW(ESOCKTNOSUPPORT), ROW(EOPNOTSUPP), ROW(EAFNOSUPPORT),
    ROW(EADDRINUSE),     ROW(EADDRNOTAVAIL), ROW(ENETDOWN),    ROW(ENETUNREACH),   ROW(ECONNABORTED), ROW(ECONNRESET),
    ROW(ENOBUFS),        ROW(EISCONN),      ROW(ENOTCONN),     ROW(ETIMEDOUT),     ROW(ECONNREFUSED), ROW(EHOSTDOWN),
    ROW(EHOSTUNREACH),   ROW(EALREADY),     ROW(EINPROGRESS),  ROW(ECANCELED),     ROW(EOVERFLOW),    ROW(ENOTUNIQ),
};
#undef ROW

static const char *error_name(int number, char spare[16]) {
  for (size_t i = 0; i < sizeof error_names / sizeof error_names[0]; i++)
    if (error_names[i].number == number) return error_names[i].name;
  snprintf(spare, 16, "E%d", number);
  return spare;
}

static void argument_text(char text[TEXT_BYTES], const struct arguments *a, const char *format, va_list list) {
  int used = snprintf(text, TEXT_BYTES, "%s: ", a->call);
  if (used > 0 && used < TEXT_BYTES) vsnprintf(text + used, (size_t)(TEXT_BYTES - used), format, list);
}

napi_value throw_type(struct arguments *a, const char *format, ...) {
  char text[TEXT_BYTES];
  va_list list;
  va_start(list, format);
  argument_text(text, a, format, list);
  va_end(list);
  a->failed = true;
  napi_throw_type_error(a->env, "ERR_INVALID_ARG_TYPE", text);
  return NULL;
}

napi_value throw_range(struct arguments *a, const char *format, ...) {
  char text[TEXT_BYTES];
  va_list list;
  va_start(list, format);
  argument_text(text, a, format, list);
  va_end(list);
  a->failed = true;
  napi_throw_range_error(a->env, "ERR_OUT_OF_RANGE", text);
  return NULL;
}

napi_value system_error(napi_env env, struct instance *self, int number, const char *attempted, int holder) {
  char spare[16];
  napi_value class, error, parts[5];
  if (napi_get_reference_value(env, self->error_class, &class) != napi_ok ||
      napi_create_string_utf8(env, error_name(number, spare), NAPI_AUTO_LENGTH, &parts[0]) != napi_ok ||
      napi_create_int32(env, number, &parts[1]) != napi_ok ||
      napi_create_string_utf8(env, attempted, NAPI_AUTO_LENGTH, &parts[2]) != napi_ok ||
      napi_create_string_utf8(env, strerror(number), NAPI_AUTO_LENGTH, &parts[3]) != napi_ok ||
      napi_create_int32(env, holder, &parts[4]) != napi_ok || napi_new_instance(env, class, 5, parts, &error) != napi_ok)
    return NULL;
  return error;
}

napi_value throw_held(struct arguments *a, int number, const char *attempted, int holder) {
  a->failed = true;
  napi_value error = system_error(a->env, a->self, number, attempted, holder);
  if (error != NULL) napi_throw(a->env, error);
  return NULL;
}

napi_value throw_system(struct arguments *a, int number, const char *format, ...) {
  char attempted[TEXT_BYTES];
  va_list list;
  va_start(list, format);
  vsnprintf(attempted, sizeof attempted, format, list);
  va_end(list);
  return throw_held(a, number, attempted, 0);
}
