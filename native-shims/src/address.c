/* IP addresses between text and sockaddr: see address.h. */
#include "address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

void take_address(struct arguments *a, size_t index, const char *name, int family, union address *address) {
  char text[ADDRESS_TEXT_BYTES];
  memset(address, 0, sizeof *address);
  take_text(a, index, name, text, sizeof text, 1);
  if (a->failed) return;

  if (family != AF_INET6 && inet_pton(AF_INET, text, &address->v4.sin_addr) == 1) {
    address->v4.sin_family = AF_INET;
    return;
  }
  if (family != AF_INET) {
    char plain[ADDRESS_TEXT_BYTES];
    memcpy(plain, text, sizeof plain);
    char *scope = strchr(plain, '%');
    if (scope != NULL) *scope++ = 0;
    unsigned int device = scope == NULL ? 0 : if_nametoindex(scope);
    if (inet_pton(AF_INET6, plain, &address->v6.sin6_addr) == 1 && (scope == NULL || device != 0)) {
      address->v6.sin6_family = AF_INET6;
      address->v6.sin6_scope_id = device;
      return;
    }
  }
  throw_type(a, "%s '%s' is no %s address", name, text,
             family == AF_INET    ? "IPv4"
             : family == AF_INET6 ? "IPv6"
                                  : "IP");
}

int take_family(struct arguments *a, size_t index) {
  int64_t family = take_integer(a, index, "family", 4, 6);
  if (!a->failed && family == 5) throw_type(a, "family must be 4 or 6, got 5");
  return family == 6 ? AF_INET6 : AF_INET;
}

void set_port(union address *address, uint16_t port) {
  if (address->any.sa_family == AF_INET6)
    address->v6.sin6_port = htons(port);
  else
    address->v4.sin_port = htons(port);
}

uint16_t port_of(const union address *address) {
  return ntohs(address->any.sa_family == AF_INET6 ? address->v6.sin6_port : address->v4.sin_port);
}

socklen_t address_bytes(const union address *address) {
  return address->any.sa_family == AF_INET6 ? sizeof address->v6 : sizeof address->v4;
}

void write_address(const union address *address, char text[ADDRESS_TEXT_BYTES]) {
  text[0] = 0;
  if (address->any.sa_family == AF_INET) {
    inet_ntop(AF_INET, &address->v4.sin_addr, text, ADDRESS_TEXT_BYTES);
  } else if (address->any.sa_family == AF_INET6) {
    inet_ntop(AF_INET6, &address->v6.sin6_addr, text, ADDRESS_TEXT_BYTES);
    char device[IF_NAMESIZE];
    if (address->v6.sin6_scope_id != 0 && if_indextoname(address->v6.sin6_scope_id, device) != NULL) {
      size_t used = strlen(text);
      snprintf(text + used, ADDRESS_TEXT_BYTES - used, "%%%s", device);
    }
  }
}

void write_endpoint(const union address *address, char text[ADDRESS_TEXT_BYTES + 8]) {
  char plain[ADDRESS_TEXT_BYTES];
  write_address(address, plain);
  snprintf(text, ADDRESS_TEXT_BYTES + 8, address->any.sa_family == AF_INET6 ? "[%s]:%u" : "%s:%u", plain,
           (unsigned int)port_of(address));
}
