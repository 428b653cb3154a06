/*
 * A null SAD for IKE daemons on a kernel without ESP: a preload library that lets every XFRM state be "installed".
 *
 * charon and pluto ask the kernel over netlink (NETLINK_XFRM) to add SAs; a kernel without ESP refuses, and the
 * negotiation ends with NO_PROPOSAL_CHOSEN although the peers agreed. This library looks at what the daemon sends
 * (charon by sendto, pluto by write):
 *
 *   XFRM_MSG_NEWSA, DELSA   become NLMSG_NOOP with NLM_F_ACK: netlink itself acknowledges them with success.
 *   XFRM_MSG_UPDSA          (fills the state that ALLOCSPI made) becomes DELSA of that state, so that it cannot
 *                           expire later and take the child SA with it; the acknowledgement is the kernel's.
 *   all else                (ALLOCSPI, policies, queries) goes to the kernel as it is: traps and acquires are real.
 *
 * NEWSA and UPDSA are appended as they came to the file NULL_SAD_LOG, where sad.ts reads SPIs and keys: what a
 * kernel would have installed. Nothing else of the daemon is touched.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/xfrm.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef ssize_t (*sendto_function)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
typedef ssize_t (*write_function)(int, const void *, size_t);

static int is_xfrm_socket(int fd) {
  int domain = 0, protocol = 0;
  socklen_t length = sizeof(int);
  return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_NETLINK &&
         getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) == 0 && protocol == NETLINK_XFRM;
}

static void record(const void *message, size_t length) {
  const char *path = getenv("NULL_SAD_LOG");
  int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
  if (fd < 0) return;
  /* One write: records of concurrent threads don't mix (O_APPEND); a file is no socket, so ours passes it on. */
  ssize_t written = write(fd, message, length);
  (void)written;
  close(fd);
}

ssize_t sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *to, socklen_t to_length) {
  static sendto_function real;
  if (!real) real = (sendto_function)dlsym(RTLD_NEXT, "sendto");
  if (length < sizeof(struct nlmsghdr) || !is_xfrm_socket(fd)) return real(fd, data, length, flags, to, to_length);

  struct {
    struct nlmsghdr header;
    struct xfrm_usersa_id id;
  } instead = {.header = *(const struct nlmsghdr *)data};
  switch (instead.header.nlmsg_type) {
    case XFRM_MSG_UPDSA: {
      const struct xfrm_usersa_info *sa = NLMSG_DATA((const struct nlmsghdr *)data);
      record(data, length);
      instead.header.nlmsg_type = XFRM_MSG_DELSA;
      instead.header.nlmsg_len = offsetof(typeof(instead), id) + sizeof(instead.id);
      instead.id.daddr = sa->id.daddr;
      instead.id.spi = sa->id.spi;
      instead.id.family = sa->family;
      instead.id.proto = sa->id.proto;
      break;
    }
    case XFRM_MSG_NEWSA:
      record(data, length);
      /* fall through */
    case XFRM_MSG_DELSA:
      instead.header.nlmsg_type = NLMSG_NOOP;
      instead.header.nlmsg_flags |= NLM_F_ACK;
      instead.header.nlmsg_len = NLMSG_HDRLEN;
      break;
    default:
      return real(fd, data, length, flags, to, to_length);
  }
  ssize_t sent = real(fd, &instead, instead.header.nlmsg_len, flags, to, to_length);
  return sent < 0 ? sent : (ssize_t)length;
}

ssize_t write(int fd, const void *data, size_t length) {
  static write_function real;
  if (!real) real = (write_function)dlsym(RTLD_NEXT, "write");
  if (length < sizeof(struct nlmsghdr) || !is_xfrm_socket(fd)) return real(fd, data, length);
  return sendto(fd, data, length, 0, NULL, 0);
}
