/*
 * One datagram to a Unix socket, as sd_notify(3) sends it to the service manager: Node has no Unix datagrams. The
 * address is that of $NOTIFY_SOCKET; one that begins with @ is in the abstract namespace.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "arguments.h"

#define NOTIFY_TEXT_BYTES 1024

/* sendNotification(path, text) */
static napi_value send_notification(napi_env env, napi_callback_info info) {
  struct arguments a;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  char path[sizeof address.sun_path], text[NOTIFY_TEXT_BYTES];
  if (!arguments_load(&a, env, info, "sendNotification", 2)) return NULL;
  take_text(&a, 0, "path", path, sizeof path, 2);
  take_text(&a, 1, "text", text, sizeof text, 1);
  if (a.failed) return NULL;

  size_t length = strlen(path);
  memcpy(address.sun_path, path, length);
  if (path[0] == '@') address.sun_path[0] = '\0';
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return throw_system(&a, errno, "open a socket for notifications");
  ssize_t sent = sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address,
                        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
  int number = sent < 0 ? errno : 0;
  close(fd);
  return number == 0 ? NULL : throw_system(&a, number, "notify %s", path);
}

const struct call notify_calls[] = {
    {"sendNotification", send_notification},
    {NULL, NULL},
};
