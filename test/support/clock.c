/*
 * Preloaded into a process (LD_PRELOAD), it stands before the C library's wall clock and shifts it by what a file says, while the
 * process runs. What counts from the start of the machine, by which timers and timeouts go, is left as it is.
 *
 * libfaketime does that and more, but it cannot be loaded beside jemalloc, which Debian's Redis uses (its issues 130 and 478).
 *
 * SHIFTED_CLOCK names the file: nanoseconds, 8 bytes, in the machine's own order.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static const volatile long long *shift;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("SHIFTED_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *map = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (map != MAP_FAILED) shift = map;
}

/* By the system call itself: allocators ask for the time before anything can be looked up. */
int clock_gettime(clockid_t clock, struct timespec *now) {
  if (syscall(SYS_clock_gettime, clock, now) != 0) return -1;
  if (shift && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    long long ns = now->tv_sec * SECOND + now->tv_nsec + *shift;
    now->tv_sec = ns / SECOND;
    now->tv_nsec = ns % SECOND;
  }
  return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec exact;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &exact) != 0) return -1;
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *seconds) {
  struct timespec exact;
  if (clock_gettime(CLOCK_REALTIME, &exact) != 0) return -1;
  if (seconds) *seconds = exact.tv_sec;
  return exact.tv_sec;
}
