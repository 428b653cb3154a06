/*
 * Giving up capabilities (capabilities(7)). They belong to threads, and a Node process has threads before the first line of
 * JavaScript runs. So the calling thread gives them up, and with execve(2), which ends all other threads, the program
 * begins anew in it: every thread that comes after has what it left.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arguments.h"

#define WORDS_MAXIMUM 256
#define WORD_BYTES 4096

/* limitCapabilities(keep): keep is a mask of the capabilities 0 to 31; all others go. */
static napi_value limit_capabilities(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "limitCapabilities", 1)) return NULL;
  uint32_t keep = (uint32_t)take_integer(&a, 0, "keep", 0, UINT32_MAX);
  if (a.failed) return NULL;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return throw_system(&a, errno, "PR_SET_NO_NEW_PRIVS");
  /* For root, execve gives what is in the bounding set or inheritable: both have to be small. */
  for (unsigned long number = 0; prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0; number++) {
    if (number < 32 && (keep & (1u << number)) != 0) continue;
    if (prctl(PR_CAPBSET_READ, number, 0, 0, 0) == 1 && prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0)
      return throw_system(&a, errno, "PR_CAPBSET_DROP of capability %lu", number);
  }
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
  if (syscall(SYS_capget, &header, data) != 0) return throw_system(&a, errno, "capget");
  data[0].permitted &= keep;
  data[0].effective &= keep;
  data[0].inheritable = 0;
  memset(&data[1], 0, sizeof data[1]);
  if (syscall(SYS_capset, &header, data) != 0) return throw_system(&a, errno, "capset");
  return NULL;
}

/* execute(path, word, ...): execve with these words as argv and the environment of the process. Comes back only by throwing. */
static napi_value execute(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "execute", 2)) return NULL;
  char path[PATH_MAX];
  take_text(&a, 0, "path", path, sizeof path, 1);
  bool is_array = false;
  uint32_t count = 0;
  if (a.failed) return NULL;
  if (napi_is_array(env, a.value[1], &is_array) != napi_ok || !is_array ||
      napi_get_array_length(env, a.value[1], &count) != napi_ok || count == 0 || count > WORDS_MAXIMUM)
    return throw_type(&a, "words must be an array of 1 to %d texts", WORDS_MAXIMUM);
  char **words = calloc(count + 1, sizeof *words);
  if (words == NULL) return throw_system(&a, ENOMEM, "execute");
  int number = 0;
  for (uint32_t i = 0; i < count && number == 0; i++) {
    napi_value word;
    size_t length = 0;
    words[i] = malloc(WORD_BYTES);
    if (words[i] == NULL) number = ENOMEM;
    else if (napi_get_element(env, a.value[1], i, &word) != napi_ok ||
             napi_get_value_string_utf8(env, word, words[i], WORD_BYTES, &length) != napi_ok)
      number = EINVAL;
    else if (length >= WORD_BYTES - 1) number = E2BIG;
  }
  /* libuv has marked the three to be closed, as every other descriptor. */
  for (int fd = 0; fd <= 2 && number == 0; fd++)
    if (fcntl(fd, F_SETFD, 0) != 0 && errno != EBADF) number = errno;
  if (number == 0) {
    extern char **environ;
    execve(path, words, environ);
    number = errno;
  }
  for (uint32_t i = 0; i < count; i++) free(words[i]);
  free(words);
  return throw_system(&a, number, "execute %s", path);
}

const struct call privilege_calls[] = {
    {"limitCapabilities", limit_capabilities},
    {"execute", execute},
    {NULL, NULL},
};
