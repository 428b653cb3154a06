/*
 * AEAD over a batch, for ESP: AES-GCM (RFC 4106) and ChaCha20-Poly1305 (RFC 7634), ICV of 16 bytes, nonce of 4 bytes
 * of salt and 8 of IV. By OpenSSL's EVP; a key is set once, a packet only sets its nonce. Keys belong to the
 * environment that made them and are wiped with it. What the packets mean is decided in dataplane/esp.
 *
 * OpenSSL's symbols are weak: on a Node that exports none the addon loads, and aeadKey says what is missing.
 */
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"

#pragma weak ERR_clear_error
#pragma weak EVP_CIPHER_CTX_free
#pragma weak EVP_CIPHER_CTX_get_params
#pragma weak EVP_CIPHER_CTX_new
#pragma weak EVP_CIPHER_fetch
#pragma weak EVP_CIPHER_free
#pragma weak EVP_DecryptFinal_ex
#pragma weak EVP_DecryptInit_ex2
#pragma weak EVP_DecryptUpdate
#pragma weak EVP_EncryptFinal_ex
#pragma weak EVP_EncryptInit_ex2
#pragma weak EVP_EncryptUpdate
#pragma weak OPENSSL_cleanse
#pragma weak OpenSSL_version

#define SALT_BYTES 4
#define IV_BYTES 8
#define NONCE_BYTES (SALT_BYTES + IV_BYTES)
#define TAG_BYTES 16
#define KEYS_FIRST 64
#define KEYS_MAXIMUM (1 << 20)

static const struct {
  const char *name;
  const char *cipher;
  size_t key_bytes;
} algorithms[] = {
    {"aes128gcm16", "AES-128-GCM", 16},
    {"aes192gcm16", "AES-192-GCM", 24},
    {"aes256gcm16", "AES-256-GCM", 32},
    {"chacha20poly1305", "ChaCha20-Poly1305", 32},
};

struct aead_key {
  /* NULL: a free slot. */
  EVP_CIPHER_CTX *context;
  bool seals;
  uint8_t salt[SALT_BYTES];
};

/* One row, checked and copied out of the columns. */
struct row {
  struct aead_key *key;
  uint8_t *aad;
  int aad_length;
  const uint8_t *iv;
  uint8_t *text;
  int text_length;
};

struct columns {
  struct bytes arena;
  struct column key, aad_offset, aad_length, iv_offset, text_offset, text_length, result;
  struct rows rows;
};

static bool has_openssl(void) {
  return ERR_clear_error != NULL && EVP_CIPHER_CTX_free != NULL && EVP_CIPHER_CTX_get_params != NULL &&
         EVP_CIPHER_CTX_new != NULL && EVP_CIPHER_fetch != NULL && EVP_CIPHER_free != NULL &&
         EVP_DecryptFinal_ex != NULL && EVP_DecryptInit_ex2 != NULL && EVP_DecryptUpdate != NULL &&
         EVP_EncryptFinal_ex != NULL && EVP_EncryptInit_ex2 != NULL && EVP_EncryptUpdate != NULL && OPENSSL_cleanse != NULL;
}

const char *aead_openssl_version(void) {
  return OpenSSL_version == NULL ? "" : OpenSSL_version(OPENSSL_FULL_VERSION_STRING);
}

static void drop_key(struct aead_key *key) {
  if (key->context == NULL) return;
  /* Frees and wipes the key schedule. */
  EVP_CIPHER_CTX_free(key->context);
  OPENSSL_cleanse(key, sizeof *key);
}

void aead_wipe(struct instance *self) {
  for (size_t i = 0; i < self->key_slots; i++) drop_key(&self->keys[i]);
  free(self->keys);
  self->keys = NULL;
  self->key_slots = 0;
}

/*
 * A free slot, searched from behind the last one given, so that the number of a dropped key is used again as late as
 * possible. Returns key_slots if memory or the limit is exhausted.
 */
static size_t find_slot(struct instance *self) {
  for (size_t i = 0; i < self->key_slots; i++) {
    size_t slot = (self->key_cursor + i) % self->key_slots;
    if (self->keys[slot].context == NULL) return slot;
  }
  size_t old = self->key_slots, larger = old == 0 ? KEYS_FIRST : old * 2;
  struct aead_key *keys = larger > KEYS_MAXIMUM ? NULL : calloc(larger, sizeof *keys);
  if (keys == NULL) return self->key_slots;
  if (old != 0) {
    memcpy(keys, self->keys, old * sizeof *keys);
    OPENSSL_cleanse(self->keys, old * sizeof *keys);
    free(self->keys);
  }
  self->keys = keys;
  self->key_slots = larger;
  return old;
}

/* A context with the key set, or NULL. */
static EVP_CIPHER_CTX *make_context(const char *name, bool seals, const uint8_t *key) {
  EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);
  EVP_CIPHER_CTX *context = cipher == NULL ? NULL : EVP_CIPHER_CTX_new();
  if (context != NULL && (seals ? EVP_EncryptInit_ex2(context, cipher, key, NULL, NULL)
                                : EVP_DecryptInit_ex2(context, cipher, key, NULL, NULL)) != 1) {
    EVP_CIPHER_CTX_free(context);
    context = NULL;
  }
  /* The context holds its own reference. */
  EVP_CIPHER_free(cipher);
  if (context == NULL) ERR_clear_error();
  return context;
}

/* aeadKey(name, seals, keyAndSalt) */
static napi_value aead_key(napi_env env, napi_callback_info info) {
  struct arguments a;
  char name[32];
  if (!arguments_load(&a, env, info, "aeadKey", 3)) return NULL;
  take_text(&a, 0, "name", name, sizeof name, 1);
  bool seals = take_boolean(&a, 1, "seals");
  struct bytes key = take_bytes(&a, 2, "keyAndSalt");
  if (a.failed) return NULL;

  size_t which = 0, count = sizeof algorithms / sizeof algorithms[0];
  while (which < count && strcmp(algorithms[which].name, name) != 0) which++;
  if (which == count) return throw_type(&a, "no algorithm '%s'", name);
  if (key.length != algorithms[which].key_bytes + SALT_BYTES)
    return throw_range(&a, "keyAndSalt of %s has %zu bytes, %zu are needed", name, key.length,
                       algorithms[which].key_bytes + SALT_BYTES);
  if (!has_openssl())
    return throw_system(&a, ENOSYS, "use OpenSSL for %s: this Node exports no OpenSSL 3 symbols", name);

  size_t slot = find_slot(a.self);
  if (slot == a.self->key_slots) return throw_system(&a, ENOMEM, "make room for key %zu", slot);
  struct aead_key *made = &a.self->keys[slot];
  made->context = make_context(algorithms[which].cipher, seals, key.data);
  if (made->context == NULL)
    return throw_system(&a, EOPNOTSUPP, "set up %s in OpenSSL %s", name, aead_openssl_version());
  made->seals = seals;
  memcpy(made->salt, key.data + algorithms[which].key_bytes, SALT_BYTES);
  a.self->key_cursor = slot + 1;
  return number_result(&a, (int64_t)slot);
}

/* aeadDropKey(key) */
static napi_value aead_drop_key(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "aeadDropKey", 1)) return NULL;
  int64_t key = take_integer(&a, 0, "key", 0, INT32_MAX);
  if (a.failed) return NULL;
  if ((size_t)key >= a.self->key_slots || a.self->keys[key].context == NULL)
    return throw_range(&a, "there is no key %lld", (long long)key);
  drop_key(&a.self->keys[key]);
  return NULL;
}

static struct columns take_columns(struct arguments *a) {
  struct columns c;
  c.rows = take_rows(a, 8);
  c.arena = take_bytes(a, 0, "arena");
  c.key = take_rows_column(a, 1, "key", c.rows);
  c.aad_offset = take_rows_column(a, 2, "aadOffset", c.rows);
  c.aad_length = take_rows_column(a, 3, "aadLength", c.rows);
  c.iv_offset = take_rows_column(a, 4, "ivOffset", c.rows);
  c.text_offset = take_rows_column(a, 5, "textOffset", c.rows);
  c.text_length = take_rows_column(a, 6, "textLength", c.rows);
  c.result = take_rows_column(a, 7, "result", c.rows);
  return c;
}

/* Copies row i out of the columns and checks it; false and thrown if anything lies outside or the key is wrong. */
static bool load_row(struct arguments *a, const struct columns *c, size_t i, bool seals, struct row *row) {
  size_t arena = c->arena.length;
  int32_t key = read_row(&c->key, i);
  int32_t aad_offset = read_row(&c->aad_offset, i), aad_length = read_row(&c->aad_length, i);
  int32_t iv_offset = read_row(&c->iv_offset, i);
  int32_t text_offset = read_row(&c->text_offset, i), text_length = read_row(&c->text_length, i);
  if (key < 0 || (size_t)key >= a->self->key_slots || a->self->keys[key].context == NULL)
    throw_range(a, "key of row %zu: there is no key %d", i, key);
  else if (a->self->keys[key].seals != seals)
    throw_range(a, "key of row %zu: key %d was made to %s", i, key, seals ? "open" : "seal");
  else if (!is_within(arena, aad_offset, aad_length))
    throw_outside(a, "aad", i, aad_offset, aad_length, arena);
  else if (!is_within(arena, iv_offset, IV_BYTES))
    throw_outside(a, "iv", i, iv_offset, IV_BYTES, arena);
  else if (text_length < 0 || !is_within(arena, text_offset, (int64_t)text_length + TAG_BYTES))
    throw_outside(a, "text with tag", i, text_offset, (int64_t)text_length + TAG_BYTES, arena);
  if (a->failed) return false;
  row->key = &a->self->keys[key];
  row->aad = c->arena.data + aad_offset;
  row->aad_length = aad_length;
  row->iv = c->arena.data + iv_offset;
  row->text = c->arena.data + text_offset;
  row->text_length = text_length;
  return true;
}

static void make_nonce(const struct row *row, uint8_t nonce[NONCE_BYTES]) {
  memcpy(nonce, row->key->salt, SALT_BYTES);
  memcpy(nonce + SALT_BYTES, row->iv, IV_BYTES);
}

static bool seal(const struct row *row) {
  EVP_CIPHER_CTX *context = row->key->context;
  uint8_t nonce[NONCE_BYTES], rest[TAG_BYTES];
  int written;
  make_nonce(row, nonce);
  OSSL_PARAM tag[] = {
      OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, row->text + row->text_length, TAG_BYTES),
      OSSL_PARAM_END,
  };
  return EVP_EncryptInit_ex2(context, NULL, NULL, nonce, NULL) == 1 &&
         (row->aad_length == 0 || EVP_EncryptUpdate(context, NULL, &written, row->aad, row->aad_length) == 1) &&
         (row->text_length == 0 ||
          EVP_EncryptUpdate(context, row->text, &written, row->text, row->text_length) == 1) &&
         EVP_EncryptFinal_ex(context, rest, &written) == 1 && EVP_CIPHER_CTX_get_params(context, tag) == 1;
}

static bool unseal(const struct row *row) {
  EVP_CIPHER_CTX *context = row->key->context;
  uint8_t nonce[NONCE_BYTES], rest[TAG_BYTES];
  int written;
  make_nonce(row, nonce);
  OSSL_PARAM tag[] = {
      OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, row->text + row->text_length, TAG_BYTES),
      OSSL_PARAM_END,
  };
  return EVP_DecryptInit_ex2(context, NULL, NULL, nonce, tag) == 1 &&
         (row->aad_length == 0 || EVP_DecryptUpdate(context, NULL, &written, row->aad, row->aad_length) == 1) &&
         (row->text_length == 0 ||
          EVP_DecryptUpdate(context, row->text, &written, row->text, row->text_length) == 1) &&
         EVP_DecryptFinal_ex(context, rest, &written) == 1;
}

/* (arena, key, aadOffset, aadLength, ivOffset, textOffset, textLength, result, first, count) */
static napi_value run_batch(napi_env env, napi_callback_info info, const char *call, bool seals) {
  struct arguments a;
  struct row row;
  if (!arguments_load(&a, env, info, call, 10)) return NULL;
  struct columns columns = take_columns(&a);
  if (a.failed) return NULL;
  for (size_t i = columns.rows.first; i < columns.rows.end; i++)
    if (!load_row(&a, &columns, i, seals, &row)) return NULL;

  for (size_t i = columns.rows.first; i < columns.rows.end; i++) {
    if (!load_row(&a, &columns, i, seals, &row)) return NULL;
    bool good = seals ? seal(&row) : unseal(&row);
    if (!good) {
      /* Neither a text that nobody vouches for nor one that was not encrypted may be used by mistake. */
      memset(row.text, 0, (size_t)row.text_length);
      ERR_clear_error();
    }
    write_row(&columns.result, i, good ? 1 : 0);
  }
  return NULL;
}

static napi_value seal_batch(napi_env env, napi_callback_info info) { return run_batch(env, info, "sealBatch", true); }

static napi_value open_batch(napi_env env, napi_callback_info info) { return run_batch(env, info, "openBatch", false); }

const struct call aead_calls[] = {
    {"aeadKey", aead_key},
    {"aeadDropKey", aead_drop_key},
    {"sealBatch", seal_batch},
    {"openBatch", open_batch},
    {NULL, NULL},
};
