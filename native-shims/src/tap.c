/*
 * TUN and TAP devices (Linux Documentation/networking/tuntap): open or create, keep, offloads.
 * Needs CAP_NET_ADMIN, except to open a persistent device that belongs to the user.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "arguments.h"

#ifndef IFF_MULTI_QUEUE
#define IFF_MULTI_QUEUE 0x0100
#endif
#ifndef TUNSETVNETHDRSZ
#define TUNSETVNETHDRSZ _IOW('T', 216, int)
#endif

/* struct virtio_net_hdr without num_buffers, as packet sockets have it. */
#define VNET_HEADER_BYTES 10

/* openTap(name, tap, multiQueue, vnetHeader, persistent) */
static napi_value open_tap(napi_env env, napi_callback_info info) {
  struct arguments a;
  char name[IFNAMSIZ];
  if (!arguments_load(&a, env, info, "openTap", 5)) return NULL;
  take_text(&a, 0, "name", name, sizeof name, 1);
  bool tap = take_boolean(&a, 1, "tap");
  bool multi_queue = take_boolean(&a, 2, "multiQueue");
  bool vnet_header = take_boolean(&a, 3, "vnetHeader");
  bool persistent = take_boolean(&a, 4, "persistent");
  if (a.failed) return NULL;
  /* The kernel takes tap%d as a pattern and would choose a name itself. */
  if (strchr(name, '%') != NULL) return throw_range(&a, "name '%s' contains %%", name);

  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return throw_system(&a, errno, "open /dev/net/tun");

  struct ifreq request;
  memset(&request, 0, sizeof request);
  memcpy(request.ifr_name, name, strlen(name));
  request.ifr_flags = (short)((tap ? IFF_TAP : IFF_TUN) | IFF_NO_PI | (multi_queue ? IFF_MULTI_QUEUE : 0) |
                              (vnet_header ? IFF_VNET_HDR : 0));
  const char *step = "TUNSETIFF";
  int failed = ioctl(fd, TUNSETIFF, &request);
  if (failed == 0 && vnet_header) {
    int bytes = VNET_HEADER_BYTES;
    step = "TUNSETVNETHDRSZ";
    failed = ioctl(fd, TUNSETVNETHDRSZ, &bytes);
  }
  if (failed == 0 && persistent) {
    step = "TUNSETPERSIST";
    failed = ioctl(fd, TUNSETPERSIST, 1);
  }
  if (failed != 0) {
    int number = errno;
    close(fd);
    return throw_system(&a, number, "open %s %s (%s)", tap ? "TAP" : "TUN", name, step);
  }
  return number_result(&a, fd);
}

/* setTapPersistent(fd, persistent) */
static napi_value set_tap_persistent(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "setTapPersistent", 2)) return NULL;
  int fd = take_descriptor(&a, 0);
  bool persistent = take_boolean(&a, 1, "persistent");
  if (a.failed) return NULL;
  if (ioctl(fd, TUNSETPERSIST, persistent ? 1 : 0) != 0) return throw_system(&a, errno, "TUNSETPERSIST on fd %d", fd);
  return NULL;
}

/* setTapOffload(fd, flags) */
static napi_value set_tap_offload(napi_env env, napi_callback_info info) {
  struct arguments a;
  if (!arguments_load(&a, env, info, "setTapOffload", 2)) return NULL;
  int fd = take_descriptor(&a, 0);
  int64_t flags = take_integer(&a, 1, "flags", 0, UINT32_MAX);
  if (a.failed) return NULL;
  if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)flags) != 0)
    return throw_system(&a, errno, "TUNSETOFFLOAD 0x%llx on fd %d", (unsigned long long)flags, fd);
  return NULL;
}

const struct call tap_calls[] = {
    {"openTap", open_tap},
    {"setTapPersistent", set_tap_persistent},
    {"setTapOffload", set_tap_offload},
    {NULL, NULL},
};
