/* IP addresses between text and sockaddr. */
#ifndef OVS_ESPD_ADDRESS_H
#define OVS_ESPD_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "arguments.h"

/* Longest text of an address: IPv6 with %scope, and its NUL. */
#define ADDRESS_TEXT_BYTES 64

union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

/* Takes an address of the family (AF_INET, AF_INET6, or AF_UNSPEC for either); IPv6 may end in %device. Throws. */
void take_address(struct arguments *a, size_t index, const char *name, int family, union address *address);
/* Takes a family, 4 or 6: AF_INET or AF_INET6. */
int take_family(struct arguments *a, size_t index);
void set_port(union address *address, uint16_t port);
uint16_t port_of(const union address *address);
socklen_t address_bytes(const union address *address);
/* The address alone: 192.0.2.1, fe80::1%eth0. */
void write_address(const union address *address, char text[ADDRESS_TEXT_BYTES]);
/* With its port: 192.0.2.1:500, [2001:db8::1]:500. */
void write_endpoint(const union address *address, char text[ADDRESS_TEXT_BYTES + 8]);

#endif
