// bootstrap/libc.cpp -- functions of the C library that an image needs less of than musl gives.
//
// musl's go before ours only where something else of the same file is needed. What is left out: what forking
// does for other threads and signalling for cancellation, fallbacks for kernels before 3.2, record locks.
// Each is a system call and errno.
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdarg>

namespace {

// sigset_t has room for 1024 signals; the kernel takes only as many as it knows.
constexpr std::size_t kKernelSigsetBytes = 8;

}  // namespace

extern "C" {

void* __dso_handle = nullptr;  // from gcc's start files: whose the destructors of static objects are

pid_t fork() {
  return pid_t(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
}

// Without the handler that the program might have for it: none of ours has.
void abort() {
  ::syscall(SYS_tgkill, ::getpid(), ::syscall(SYS_gettid), SIGABRT);
  for (;;) ::_exit(127);
}

// For SIG_IGN and SIG_DFL: a handler would need a way back, which is musl's to know.
void (*signal(int number, void (*handler)(int)))(int) {
  struct {
    void (*handler)(int);
    unsigned long rest[4];
  } now = {handler, {}}, before = {};
  return ::syscall(SYS_rt_sigaction, number, &now, &before, kKernelSigsetBytes) == 0 ? before.handler
                                                                                     : SIG_ERR;
}

#if __SIZEOF_LONG__ == 8
// The kernel's layout is musl's on the 64-bit architectures there are images for. On the others the kernel's
// has times of 32 bits, which musl translates.
int fstat(int fd, struct stat* status) {
  return int(::syscall(SYS_fstat, fd, status));
}
#endif

int fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  const long argument = va_arg(arguments, long);
  va_end(arguments);
  return int(::syscall(SYS_fcntl, fd, command, argument));
}

ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  return ::syscall(SYS_sendmsg, fd, message, flags);
}

int socketpair(int domain, int type, int protocol, int ends[2]) {
  return int(::syscall(SYS_socketpair, domain, type, protocol, ends));
}

int pipe2(int ends[2], int flags) {
  return int(::syscall(SYS_pipe2, ends, flags));
}

int dup3(int from, int to, int flags) {
  return int(::syscall(SYS_dup3, from, to, flags));
}

int epoll_create1(int flags) {
  return int(::syscall(SYS_epoll_create1, flags));
}

int epoll_ctl(int fd, int operation, int watched, epoll_event* event) {
  return int(::syscall(SYS_epoll_ctl, fd, operation, watched, event));
}

int epoll_wait(int fd, epoll_event* events, int count, int milliseconds) {
  return int(::syscall(SYS_epoll_pwait, fd, events, count, milliseconds, nullptr, kKernelSigsetBytes));
}

int signalfd(int fd, const sigset_t* set, int flags) {
  return int(::syscall(SYS_signalfd4, fd, set, kKernelSigsetBytes, flags));
}

int eventfd(unsigned count, int flags) {
  return int(::syscall(SYS_eventfd2, count, flags));
}

}  // extern "C"
