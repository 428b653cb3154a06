/*
 * Waiting and waking: poll(2), eventfd(2), the monotonic clock and the cycle counter, and close(2).
 * poll blocks the calling thread and is meant for packet workers, which have no event loop to keep alive.
 */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "arguments.h"

/* Most descriptors of one poll. */
#define POLL_MAXIMUM 1024

/* A double holds this many bits of a counter to the last one, after any time that the machine may have run. */
#define CYCLES_MASK ((1ULL << 48) - 1)

/* close(fd) */
static napi_value close_descriptor(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "close", 1)) return NULL;
  int fd = take_descriptor(&a, 0);
  if (a.failed) return NULL;
  /* On Linux the descriptor is gone after EINTR as well. */
  if (close(fd) != 0 && errno != EINTR) return throw_system(&a, errno, "close fd %d", fd);
  return NULL;
}

/* createEventFd() */
static napi_value create_event_fd(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "createEventFd", 0)) return NULL;
  int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return throw_system(&a, errno, "create eventfd");
  return number_result(&a, fd);
}

/* signalEventFd(fd) */
static napi_value signal_event_fd(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "signalEventFd", 1)) return NULL;
  int fd = take_descriptor(&a, 0);
  if (a.failed) return NULL;
  uint64_t one = 1;
  ssize_t written;
  do written = write(fd, &one, sizeof one);
  while (written < 0 && errno == EINTR);
  /* EAGAIN: the counter is full, so the reader will wake anyway. */
  if (written < 0 && errno != EAGAIN) return throw_system(&a, errno, "signal eventfd %d", fd);
  return NULL;
}

/* drainEventFd(fd) */
static napi_value drain_event_fd(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "drainEventFd", 1)) return NULL;
  int fd = take_descriptor(&a, 0);
  if (a.failed) return NULL;
  uint64_t signals;
  ssize_t got;
  do got = read(fd, &signals, sizeof signals);
  while (got < 0 && errno == EINTR);
  if (got < 0 && errno != EAGAIN) return throw_system(&a, errno, "drain eventfd %d", fd);
  return NULL;
}

/* poll(fds, ready, count, timeoutMs) */
static napi_value poll_descriptors(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "poll", 4)) return NULL;
  struct rows rows = {0, (size_t)take_integer(&a, 2, "count", 0, POLL_MAXIMUM)};
  struct column fds = take_rows_column(&a, 0, "fds", rows);
  struct column ready = take_rows_column(&a, 1, "ready", rows);
  int timeout = (int)take_integer(&a, 3, "timeoutMs", -1, INT32_MAX);
  if (a.failed) return NULL;

  struct pollfd polled[POLL_MAXIMUM];
  for (size_t i = 0; i < rows.end; i++) {
    polled[i].fd = read_row(&fds, i);
    polled[i].events = POLLIN;
    polled[i].revents = 0;
  }
  int count = poll(polled, rows.end, timeout);
  if (count < 0 && errno == EINTR) count = 0;
  if (count < 0) return throw_system(&a, errno, "poll %zu descriptors", rows.end);
  for (size_t i = 0; i < rows.end; i++) write_row(&ready, i, count == 0 ? 0 : polled[i].revents);
  return number_result(&a, count);
}

/* monotonicMs() */
static napi_value monotonic_ms(napi_env env, napi_callback_info info) {
  (void)info;
  struct timespec now = {0, 0};
  napi_value value = NULL;
  clock_gettime(CLOCK_MONOTONIC, &now);
  napi_create_double(env, (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6, &value);
  return value;
}

/* cycles() */
static napi_value cycles(napi_env env, napi_callback_info info) {
  (void)info;
  double count = 0;
#if defined(__x86_64__)
  count = (double)(__rdtsc() & CYCLES_MASK);
#endif
  napi_value value = NULL;
  napi_create_double(env, count, &value);
  return value;
}

const struct call poll_calls[] = {
    {"close", close_descriptor},       {"createEventFd", create_event_fd}, {"signalEventFd", signal_event_fd},
    {"drainEventFd", drain_event_fd},  {"poll", poll_descriptors},         {"monotonicMs", monotonic_ms},
    {"cycles", cycles},                {NULL, NULL},
};
