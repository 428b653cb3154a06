/*
 * What the parts of the addon share: the state of one environment (the main thread or one worker thread) and the
 * lists of calls that addon.c puts on the object given to JavaScript.
 */
#ifndef OVS_ESPD_ADDON_H
#define OVS_ESPD_ADDON_H

#include <node_api.h>
#include <stddef.h>
#include <stdint.h>

struct aead_key;
struct watch;

/* Largest UDP datagram: the 16-bit length field. */
#define DATAGRAM_BYTES 65536

struct instance {
  /* The NativeError class of the JavaScript side. */
  napi_ref error_class;
  /* aead.c: the key table, its size, and where the search for a free slot begins. */
  struct aead_key *keys;
  size_t key_slots;
  size_t key_cursor;
  /* watch.c: open watches, and the number of the next one. */
  struct watch *watches;
  uint32_t next_watch;
  /* datagram.c: where a datagram is received before it is copied. */
  uint8_t datagram[DATAGRAM_BYTES];
};

struct call {
  const char *name;
  napi_callback run;
};

/* Each list ends with a row whose name is NULL. */
extern const struct call aead_calls[];
extern const struct call batch_calls[];
extern const struct call checksum_calls[];
extern const struct call datagram_calls[];
extern const struct call memory_calls[];
extern const struct call netlink_calls[];
extern const struct call notify_calls[];
extern const struct call pidlock_calls[];
extern const struct call poll_calls[];
extern const struct call privilege_calls[];
extern const struct call raw6_calls[];
extern const struct call segment_calls[];
extern const struct call socket_calls[];
extern const struct call tap_calls[];
extern const struct call watch_calls[];

/* Wipes all keys of the instance. */
void aead_wipe(struct instance *self);
/* OpenSSL's version, or "" if this Node exports no OpenSSL. */
const char *aead_openssl_version(void);

#endif
