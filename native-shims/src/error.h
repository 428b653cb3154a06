/* Throwing: TypeError and RangeError for bad arguments, NativeError for a system call that failed. All return NULL. */
#ifndef OVS_ESPD_ERROR_H
#define OVS_ESPD_ERROR_H

#include <node_api.h>

#include "addon.h"

struct arguments;

__attribute__((format(printf, 2, 3))) napi_value throw_type(struct arguments *a, const char *format, ...);
__attribute__((format(printf, 2, 3))) napi_value throw_range(struct arguments *a, const char *format, ...);

/* `number` is an errno; the format says what was tried, for instance "bind UDP 0.0.0.0:500". */
__attribute__((format(printf, 3, 4))) napi_value throw_system(struct arguments *a, int number, const char *format, ...);

/* The same with the process that holds what was asked for; 0: not known. */
napi_value throw_held(struct arguments *a, int number, const char *attempted, int holder);

/* Makes the error without throwing it; NULL if that fails. */
napi_value system_error(napi_env env, struct instance *self, int number, const char *attempted, int holder);

#endif
