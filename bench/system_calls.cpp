#include "bench/system_calls.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

namespace banyan::bench {

namespace {
std::uint64_t own_count = 0;
std::uint64_t* count = &own_count;
}  // namespace

void count_system_calls_in(std::uint64_t* at) {
  count = at != nullptr ? at : &own_count;
}

std::uint64_t system_calls() {
  return *count;
}

}  // namespace banyan::bench

// The names are the linker's.
extern "C" {

int __real_epoll_wait(int epoll, epoll_event* events, int max, int wait_ms);
int __real_epoll_ctl(int epoll, int operation, int fd, epoll_event* event);
ssize_t __real_recv(int fd, void* to, size_t max, int flags);
ssize_t __real_sendmsg(int fd, const msghdr* message, int flags);
ssize_t __real_getrandom(void* to, size_t bytes, unsigned flags);
ssize_t __real_read(int fd, void* to, size_t max);
ssize_t __real_write(int fd, const void* from, size_t bytes);
ssize_t __real_writev(int fd, const iovec* parts, int parts_count);

int __wrap_epoll_wait(int epoll, epoll_event* events, int max, int wait_ms) {
  ++*banyan::bench::count;
  return __real_epoll_wait(epoll, events, max, wait_ms);
}
int __wrap_epoll_ctl(int epoll, int operation, int fd, epoll_event* event) {
  ++*banyan::bench::count;
  return __real_epoll_ctl(epoll, operation, fd, event);
}
ssize_t __wrap_recv(int fd, void* to, size_t max, int flags) {
  ++*banyan::bench::count;
  return __real_recv(fd, to, max, flags);
}
ssize_t __wrap_sendmsg(int fd, const msghdr* message, int flags) {
  ++*banyan::bench::count;
  return __real_sendmsg(fd, message, flags);
}
ssize_t __wrap_getrandom(void* to, size_t bytes, unsigned flags) {
  ++*banyan::bench::count;
  return __real_getrandom(to, bytes, flags);
}
ssize_t __wrap_read(int fd, void* to, size_t max) {
  ++*banyan::bench::count;
  return __real_read(fd, to, max);
}
ssize_t __wrap_write(int fd, const void* from, size_t bytes) {
  ++*banyan::bench::count;
  return __real_write(fd, from, bytes);
}
ssize_t __wrap_writev(int fd, const iovec* parts, int parts_count) {
  ++*banyan::bench::count;
  return __real_writev(fd, parts, parts_count);
}

}  // extern "C"
