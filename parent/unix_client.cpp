#include "parent/unix_client.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "core/text.h"

namespace banyan {

bool unix_address(const std::string& path, sockaddr_un& address) {
  address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path || path.find('\0') != std::string::npos)
    return false;
  std::copy(path.begin(), path.end(), address.sun_path);
  return true;
}

UnixFound look_at_socket(const std::string& path) {
  UnixFound found;
  sockaddr_un address;
  if (!unix_address(path, address)) {
    found.error = ENAMETOOLONG;
    return found;
  }
  found.socket = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!found.socket) {
    found.error = errno;
    return found;
  }
  const int connected = retry([&] {
    return ::connect(found.socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  });
  if (connected == 0) {
    found.kind = UnixFound::Kind::kListener;
    ucred who{};
    socklen_t size = sizeof who;
    if (::getsockopt(found.socket.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) == 0) {
      found.pid = who.pid;
      found.uid = who.uid;
      return found;
    }
    found.kind = UnixFound::Kind::kUnknown;
  }
  found.error = errno;
  found.socket = Fd();
  switch (found.error) {
    case EAGAIN:
      found.kind = UnixFound::Kind::kListener;
      break;
    case ECONNREFUSED:  // of what is not a socket at all, too
      found.kind = UnixFound::Kind::kNobody;
      break;
    case EPROTOTYPE:
      found.kind = UnixFound::Kind::kNoSocket;
      break;
    case ENOENT:
      found.kind = UnixFound::Kind::kMissing;
      break;
    default:
      break;
  }
  return found;
}

Result<Fd> connect_to_listener(const std::string& path) {
  UnixFound found = look_at_socket(path);
  const auto refused = [](std::string_view text, std::string_view remedy) {
    return Error{ErrorClass::kRefused, Phase::kConnect, text, remedy};
  };
  switch (found.kind) {
    case UnixFound::Kind::kMissing:
      return Error{ErrorClass::kUnreachable, Phase::kConnect, cat("there is no ", path),
                   "start the program that listens there"};
    case UnixFound::Kind::kNobody:
    case UnixFound::Kind::kNoSocket:
      return Error{ErrorClass::kUnreachable, Phase::kConnect, cat("nobody listens at ", path),
                   "start the program that listens there"};
    case UnixFound::Kind::kListener:
      break;
    case UnixFound::Kind::kUnknown:
      return system_error(ErrorClass::kUnreachable, Phase::kConnect, cat("connecting to ", path),
                          found.error);
  }
  if (!found.socket)
    return Error{ErrorClass::kResource, Phase::kConnect, cat("too many wait at ", path, " already"),
                 "try again"};
  if (found.uid != ::geteuid())
    return refused(cat(path, " is held by user ", found.uid, ", and this is user ", ::geteuid(),
                       ": whoever listens there could have us do anything"),
                   "join a program of your own user");
  return std::move(found.socket);
}

Result<Done> join(ChildContext& context, const std::string& path, Nanos deadline) {
  Result<Fd> socket = connect_to_listener(path);
  if (!socket) return socket.error();
  const int fd = socket->release();
  context.begin({fd, fd}, 0, deadline);
  return Done{};
}

}  // namespace banyan
