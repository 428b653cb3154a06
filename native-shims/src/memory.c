/*
 * Memory for packets, and fork(2). A process that starts another one (Node does by fork) has all its pages write-protected for
 * the moment, and every thread pays a page fault for each page that it then writes: on a packet arena, hundreds of times.
 * So this memory is kept out of forks. It is a mapping of its own, because the allocator would give pages that are not
 * copied to whoever comes next: then a program is started with words that its process does not have (EFAULT).
 */
#include <errno.h>
#include <sys/mman.h>

#include "arguments.h"

static void unmap(napi_env env, void *data, void *length) {
  (void)env;
  munmap(data, (size_t)length);
}

/* packetMemory(length) */
static napi_value packet_memory(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "packetMemory", 1)) return NULL;
  size_t length = (size_t)take_integer(&a, 0, "length", 1, INT32_MAX);
  if (a.failed) return NULL;
  void *data = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return throw_system(&a, errno, "mmap of %zu bytes", length);
  if (madvise(data, length, MADV_DONTFORK) != 0) {
    int reason = errno;
    munmap(data, length);
    return throw_system(&a, reason, "MADV_DONTFORK on %zu bytes", length);
  }
  napi_value buffer, bytes;
  if (napi_create_external_arraybuffer(env, data, length, unmap, (void *)length, &buffer) != napi_ok) {
    munmap(data, length);
    return throw_system(&a, ENOMEM, "a buffer of %zu bytes", length);
  }
  return napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &bytes) == napi_ok ? bytes : NULL;
}

const struct call memory_calls[] = {
    {"packetMemory", packet_memory},
    {NULL, NULL},
};
