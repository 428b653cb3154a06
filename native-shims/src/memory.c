/*
 * Memory and fork(2). A process that starts another one (Node does by fork) has all its pages write-protected for the
 * moment, and every thread pays a page fault for each page that it then writes: on a packet arena, hundreds of times.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arguments.h"

/* keepFromForks(bytes) */
static napi_value keep_from_forks(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "keepFromForks", 1)) return NULL;
  struct bytes bytes = take_bytes(&a, 0, "bytes");
  if (a.failed || bytes.length == 0) return NULL;
  /* The pages that lie wholly within. */
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  uintptr_t first = ((uintptr_t)bytes.data + page - 1) / page * page;
  uintptr_t end = ((uintptr_t)bytes.data + bytes.length) / page * page;
  if (first < end && madvise((void *)first, end - first, MADV_DONTFORK) != 0)
    return throw_system(&a, errno, "MADV_DONTFORK on %zu bytes", bytes.length);
  return NULL;
}

const struct call memory_calls[] = {
    {"keepFromForks", keep_from_forks},
    {NULL, NULL},
};
