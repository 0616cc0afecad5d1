// parent/unix_client.h -- the way into a tree through the socket of a listener (parent/unix_listener.h).
//
//   ChildContext context(loop, images, owner, &Runner::kTransports);
//   if (const Result<Done> knocked = join(context, path); !knocked) ...;    // nobody there, not ours, ...
//
// and the owner is told that the context is up, or why not: within the deadline. Who joins is a child like
// any other: whoever listens there may have it do what it can do. So a listener of another user is refused.
#pragma once

#include <sys/un.h>

#include <string>

#include "parent/child_context.h"

namespace banyan {

constexpr Nanos kJoinDeadline = 10 * kSecond;  // from the connection to the identity

// Errors are of phase connect. REQUIRES: the context was not begun.
Result<Done> join(ChildContext& context, const std::string& path, Nanos deadline = kJoinDeadline);

// A connection, once somebody of our own user has been found at its other end. Does not wait.
Result<Fd> connect_to_listener(const std::string& path);

// What a path leads to.
struct UnixFound {
  enum class Kind { kListener, kNobody, kNoSocket, kMissing, kUnknown } kind = Kind::kUnknown;
  Fd socket;      // of a listener: connected, unless it has too many waiting already
  pid_t pid = 0;  // of a listener; 0: not known
  uid_t uid = 0;
  int error = 0;  // errno of whatever is no listener
};
UnixFound look_at_socket(const std::string& path);

// False: it is empty, or longer than a socket's path may be.
bool unix_address(const std::string& path, sockaddr_un& address);

}  // namespace banyan
