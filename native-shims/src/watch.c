/*
 * Readable descriptors on the event loop of the calling thread: uv_poll. A watch keeps the loop alive until it is
 * stopped. Level-triggered: a callback that leaves data unread is called again. A descriptor in error counts as readable,
 * once: then its watch has ended.
 *
 * A watch ends in two steps: end_watch() stops it, takes it off the instance's list and gives JavaScript's callback
 * back; libuv then calls closed(), which frees it. The cleanup hook stays until then, so that an environment that is
 * torn down (a worker that is terminated, say) waits for libuv before its loop goes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "arguments.h"

struct watch {
  uv_poll_t handle;
  napi_env env;
  struct instance *self;
  struct watch *next;
  uint32_t number;
  int fd;
  bool ending;
  napi_ref callback;
  napi_async_context context;
  napi_async_cleanup_hook_handle hook;
};

static void closed(uv_handle_t *handle) {
  struct watch *watch = handle->data;
  if (watch->hook != NULL) napi_remove_async_cleanup_hook(watch->hook);
  free(watch);
}

static void end_watch(struct watch *watch) {
  if (watch->ending) return;
  watch->ending = true;
  for (struct watch **link = &watch->self->watches; *link != NULL; link = &(*link)->next) {
    if (*link != watch) continue;
    *link = watch->next;
    break;
  }
  uv_poll_stop(&watch->handle);
  if (watch->callback != NULL) napi_delete_reference(watch->env, watch->callback);
  if (watch->context != NULL) napi_async_destroy(watch->env, watch->context);
  uv_close((uv_handle_t *)&watch->handle, closed);
}

static void environment_ends(napi_async_cleanup_hook_handle hook, void *data) {
  (void)hook;
  end_watch(data);
}

/* Makes an exception that nobody can catch an uncaughtException. */
static void raise_pending(napi_env env) {
  napi_value error;
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending &&
      napi_get_and_clear_last_exception(env, &error) == napi_ok)
    napi_fatal_exception(env, error);
}

static void became_readable(uv_poll_t *handle, int status, int events) {
  struct watch *watch = handle->data;
  napi_env env = watch->env;
  (void)events;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value callback, receiver;
  bool callable = napi_get_reference_value(env, watch->callback, &callback) == napi_ok &&
                  napi_get_global(env, &receiver) == napi_ok;
  if (status < 0) {
    /* POLLERR: the device is gone, say. Whoever reads next learns why; called once, because it would never end. */
    napi_async_context context = watch->context;
    watch->context = NULL;
    end_watch(watch);
    if (callable) napi_make_callback(env, context, receiver, callback, 0, NULL, NULL);
    raise_pending(env);
    napi_async_destroy(env, context);
  } else {
    if (callable) napi_make_callback(env, watch->context, receiver, callback, 0, NULL, NULL);
    raise_pending(env);
  }
  napi_close_handle_scope(env, scope);
}

/* watch(fd, callback): a number for unwatch */
static napi_value start_watch(napi_env env, napi_callback_info info) {
  struct arguments a;
  uv_loop_t *loop;
  napi_valuetype type;
  napi_value label;
  if (!arguments_load(&a, env, info, "watchReadable", 2)) return NULL;
  int fd = take_descriptor(&a, 0);
  if (a.failed) return NULL;
  if (napi_typeof(env, a.value[1], &type) != napi_ok || type != napi_function)
    return throw_type(&a, "callback must be a function");
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return throw_system(&a, ENOTSUP, "watch fd %d: no event loop", fd);

  struct watch *watch = calloc(1, sizeof *watch);
  if (watch == NULL) return throw_system(&a, ENOMEM, "watch fd %d", fd);
  watch->env = env;
  watch->self = a.self;
  watch->fd = fd;
  int failed = uv_poll_init(loop, &watch->handle, fd);
  if (failed != 0) {
    free(watch);
    return throw_system(&a, -failed, "watch fd %d", fd);
  }
  watch->handle.data = watch;
  watch->number = a.self->next_watch++;
  watch->next = a.self->watches;
  a.self->watches = watch;
  if (napi_add_async_cleanup_hook(env, environment_ends, watch, &watch->hook) != napi_ok ||
      napi_create_reference(env, a.value[1], 1, &watch->callback) != napi_ok ||
      napi_create_string_utf8(env, "ovs-espd:watch", NAPI_AUTO_LENGTH, &label) != napi_ok ||
      napi_async_init(env, NULL, label, &watch->context) != napi_ok) {
    end_watch(watch);
    return throw_system(&a, ENOMEM, "watch fd %d", fd);
  }
  failed = uv_poll_start(&watch->handle, UV_READABLE, became_readable);
  if (failed != 0) {
    end_watch(watch);
    return throw_system(&a, -failed, "watch fd %d", fd);
  }
  return number_result(&a, watch->number);
}

/* unwatch(number): nothing happens if it has ended already */
static napi_value stop_watch(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "unwatch", 1)) return NULL;
  uint32_t number = (uint32_t)take_integer(&a, 0, "watch", 0, UINT32_MAX);
  if (a.failed) return NULL;
  struct watch *watch = a.self->watches;
  while (watch != NULL && watch->number != number) watch = watch->next;
  if (watch != NULL) end_watch(watch);
  return NULL;
}

const struct call watch_calls[] = {
    {"watch", start_watch},
    {"unwatch", stop_watch},
    {NULL, NULL},
};
