/*
 * The addon's entry: one exported function, create(NativeError), gives an object with all calls on it.
 *
 * Nothing here is global: each environment (main thread, worker threads) has its own struct instance, which is
 * wiped and freed when the environment ends. The calls take positional arguments; ../face.ts gives them their types.
 */
#include "addon.h"

#include <stdlib.h>

#include "arguments.h"

static const struct call *const all_calls[] = {
    aead_calls,    batch_calls, checksum_calls,  datagram_calls, memory_calls,  netlink_calls, notify_calls,
    pidlock_calls, poll_calls,  privilege_calls, raw6_calls,     segment_calls, socket_calls,  tap_calls,
    watch_calls,
};

static void end_instance(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  struct instance *self = data;
  aead_wipe(self);
  free(self);
}

static napi_value create(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "create", 1)) return NULL;

  napi_valuetype type;
  if (napi_typeof(env, a.value[0], &type) != napi_ok || type != napi_function)
    return throw_type(&a, "the error class must be a function");
  if (a.self->error_class != NULL) napi_delete_reference(env, a.self->error_class);
  a.self->error_class = NULL;

  napi_value face, version;
  if (napi_create_reference(env, a.value[0], 1, &a.self->error_class) != napi_ok ||
      napi_create_object(env, &face) != napi_ok ||
      napi_create_string_utf8(env, aead_openssl_version(), NAPI_AUTO_LENGTH, &version) != napi_ok ||
      napi_set_named_property(env, face, "opensslVersion", version) != napi_ok)
    return NULL;
  for (size_t list = 0; list < sizeof all_calls / sizeof all_calls[0]; list++) {
    for (const struct call *call = all_calls[list]; call->name != NULL; call++) {
      napi_value function;
      if (napi_create_function(env, call->name, NAPI_AUTO_LENGTH, call->run, a.self, &function) != napi_ok ||
          napi_set_named_property(env, face, call->name, function) != napi_ok)
        return NULL;
    }
  }
  return face;
}

NAPI_MODULE_INIT(/* napi_env env, napi_value exports */) {
  struct instance *self = calloc(1, sizeof *self);
  if (self == NULL) {
    napi_throw_error(env, "ENOMEM", "native-shims: out of memory");
    return NULL;
  }
  if (napi_set_instance_data(env, self, end_instance, NULL) != napi_ok) {
    free(self);
    return NULL;
  }
  napi_value function;
  if (napi_create_function(env, "create", NAPI_AUTO_LENGTH, create, self, &function) != napi_ok ||
      napi_set_named_property(env, exports, "create", function) != napi_ok)
    return NULL;
  return exports;
}
