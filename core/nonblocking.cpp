#include "core/nonblocking.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "core/text.h"

namespace banyan {

namespace {

constexpr int kFirstPrivateFd = 3;  // 0, 1 and 2 belong to whatever is executed next
constexpr int kPartsMax = 1024;     // the kernel's UIO_MAXIOV; more is EINVAL, fewer is only a short write

// Opening a pty master anew would make another pty.
bool is_pty_master(int fd) {
  unsigned number;
  return ::ioctl(fd, TIOCGPTN, &number) == 0;
}

IoResult result_of(ssize_t bytes) {
  if (bytes > 0) return {IoResult::Status::kOk, std::size_t(bytes), 0};
  if (errno == EAGAIN || errno == EWOULDBLOCK) return {IoResult::Status::kWouldBlock, 0, 0};
  return {IoResult::Status::kError, 0, errno};
}

}  // namespace

Result<Fd> private_nonblocking(int inherited, bool for_write) {
  struct stat status;
  if (::fstat(inherited, &status) != 0)
    return system_error(ErrorClass::kResource, Phase::kLink, cat("descriptor ", inherited), errno);

  const bool is_device = S_ISCHR(status.st_mode) && !is_pty_master(inherited);
  if (S_ISFIFO(status.st_mode) || is_device) {
    const std::string path = cat("/proc/self/fd/", inherited);
    const int flags = (for_write ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    Fd opened(retry([&] { return ::open(path.c_str(), flags); }));
    if (opened.get() >= kFirstPrivateFd) return opened;
    if (opened) inherited = opened.get();  // one of 0 to 2 was free: copied away from there below
    Fd copy(::fcntl(inherited, F_DUPFD_CLOEXEC, kFirstPrivateFd));
    if (copy && !opened) ::fcntl(copy.get(), F_SETFL, ::fcntl(copy.get(), F_GETFL) | O_NONBLOCK);
    if (copy) return copy;
    return system_error(ErrorClass::kResource, Phase::kLink, cat("copy descriptor ", inherited), errno);
  }

  Fd copy(::fcntl(inherited, F_DUPFD_CLOEXEC, kFirstPrivateFd));
  if (!copy)
    return system_error(ErrorClass::kResource, Phase::kLink, cat("copy descriptor ", inherited), errno);
  // Files never say "would block" and sockets are asked not to, call by call. The rest (a pty master, an
  // eventfd) is of our own making and may keep the flag.
  const bool leave_alone = S_ISSOCK(status.st_mode) || S_ISREG(status.st_mode) || S_ISBLK(status.st_mode);
  if (!leave_alone) ::fcntl(copy.get(), F_SETFL, ::fcntl(copy.get(), F_GETFL) | O_NONBLOCK);
  return copy;
}

void NonblockingIo::learn(int fd) {
  ASSERT(fd >= 0);
  if (std::size_t(fd) >= kinds_.size()) kinds_.resize(std::size_t(fd) + 1, Kind::kUnknown);
  struct stat status;
  const bool is_socket = ::fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
  kinds_[std::size_t(fd)] = is_socket ? Kind::kSocket : Kind::kOther;
}

void NonblockingIo::forget(int fd) {
  if (std::size_t(fd) < kinds_.size()) kinds_[std::size_t(fd)] = Kind::kUnknown;
}

NonblockingIo::Kind NonblockingIo::kind_of(int fd) {
  if (std::size_t(fd) >= kinds_.size() || kinds_[std::size_t(fd)] == Kind::kUnknown) learn(fd);
  return kinds_[std::size_t(fd)];
}

IoResult NonblockingIo::read(int fd, std::uint8_t* to, std::size_t max) {
  ASSERT(max > 0);
  const bool is_socket = kind_of(fd) == Kind::kSocket;
  const ssize_t bytes =
      retry([&] { return is_socket ? ::recv(fd, to, max, MSG_DONTWAIT) : ::read(fd, to, max); });
  if (bytes == 0) return {IoResult::Status::kEnd, 0, 0};
  return result_of(bytes);
}

IoResult NonblockingIo::write(int fd, const iovec* parts, int count) {
  count = std::min(count, kPartsMax);
  if (kind_of(fd) == Kind::kSocket) {
    msghdr message = {};
    message.msg_iov = const_cast<iovec*>(parts);
    message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(count);
    return result_of(retry([&] { return ::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL); }));
  }
  if (!sigpipe_blocked_) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    sigpipe_blocked_ = true;
  }
  return result_of(retry([&] { return ::writev(fd, parts, count); }));
}

}  // namespace banyan
