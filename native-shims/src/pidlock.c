/*
 * The pidfile and its lock, as ovs-appctl looks for them: it asks by F_GETLK who holds the file, so the lock must be
 * an fcntl (POSIX) one. Such a lock is lost when the process closes ANY descriptor of the file: nobody may read the
 * pidfile of his own process.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arguments.h"

#define PIDFILE_TEXT_BYTES 64

/* The process that holds a lock on the file; 0 if none or not known. */
static int holder_of(int fd) {
  struct flock lock;
  memset(&lock, 0, sizeof lock);
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? (int)lock.l_pid : 0;
}

/* Is the file at the path still the one that is open? Its last owner may have removed it before the lock was ours. */
static bool is_same_file(int fd, const char *path) {
  struct stat ours, theirs;
  return fstat(fd, &ours) == 0 && stat(path, &theirs) == 0 && ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

/* lockPidfile(path, text) */
static napi_value lock_pidfile(napi_env env, napi_callback_info info) {
  struct arguments a;
  char path[PATH_MAX], text[PIDFILE_TEXT_BYTES];
  if (!arguments_load(&a, env, info, "lockPidfile", 2)) return NULL;
  take_text(&a, 0, "path", path, sizeof path, 1);
  take_text(&a, 1, "text", text, sizeof text, 1);
  if (a.failed) return NULL;

  for (;;) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return throw_system(&a, errno, "open pidfile %s", path);
    struct flock lock;
    memset(&lock, 0, sizeof lock);
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    int number = 0, holder = 0;
    if (fcntl(fd, F_SETLK, &lock) != 0) {
      number = errno;
      if (number == EAGAIN || number == EACCES) holder = holder_of(fd);
    } else if (!is_same_file(fd, path)) {
      close(fd);
      continue;
    } else if (ftruncate(fd, 0) != 0) {
      number = errno;
    } else {
      ssize_t written = pwrite(fd, text, strlen(text), 0);
      if (written < 0) number = errno;
      else if ((size_t)written != strlen(text)) number = ENOSPC;
    }
    if (number == 0) return number_result(&a, fd);
    close(fd);
    char attempted[PATH_MAX + 16] = "lock pidfile ";
    memcpy(attempted + strlen(attempted), path, strlen(path) + 1);
    return throw_held(&a, number, attempted, holder);
  }
}

const struct call pidlock_calls[] = {
    {"lockPidfile", lock_pidfile},
    {NULL, NULL},
};
