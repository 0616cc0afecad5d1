#include "core/fd.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace banyan {

void Fd::reset() {
  // No retry on EINTR: Linux has closed the number already, and another thread may hold it by now.
  if (number_ >= 0) ::close(std::exchange(number_, -1));
}

Result<FdPair> make_socketpair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return system_error(ErrorClass::kResource, Phase::kConnect, "socketpair", errno);
  return FdPair{Fd(ends[0]), Fd(ends[1])};
}

Result<FdPair> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return system_error(ErrorClass::kResource, Phase::kConnect, "pipe", errno);
  return FdPair{Fd(ends[0]), Fd(ends[1])};
}

bool write_all(int fd, const void* data, std::size_t bytes) {
  auto* at = static_cast<const char*>(data);
  while (bytes > 0) {
    auto written = retry([&] { return ::write(fd, at, bytes); });
    if (written <= 0) return false;
    at += written;
    bytes -= static_cast<std::size_t>(written);
  }
  return true;
}

}  // namespace banyan
