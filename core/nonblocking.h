// core/nonblocking.h -- reading and writing that never waits, and never makes anybody else's descriptor do
// so.
//
// O_NONBLOCK belongs to the open description, not to the number: set on an inherited pipe or terminal it
// changes the shell, ssh or sudo that holds the other copy. So sockets are read with MSG_DONTWAIT and left
// alone, and pipes and terminals are opened anew.
#pragma once

#include <vector>

#include "core/fd.h"
#include "core/loop.h"

namespace banyan {

// A descriptor of our own for what `inherited` names, fit for Loop::read or Loop::write, close-on-exec and
// above
// 2. `inherited` stays open and as it was; close it, or the other end will not see ours go. Where it cannot
// be opened anew (no /proc, another user's pipe) a copy is made non-blocking, and with it the original.
Result<Fd> private_nonblocking(int inherited, bool for_write);

// What every real loop does its reads and writes with. One a loop, used on its thread only: the first write
// to something that is not a socket blocks SIGPIPE in that thread, for want of a MSG_NOSIGNAL. Whoever
// executes another program resets the signal mask.
class NonblockingIo {
 public:
  // REQUIRES: max > 0.
  IoResult read(int fd, std::uint8_t* to, std::size_t max);
  // REQUIRES: the parts are not all empty.
  IoResult write(int fd, const iovec* parts, int count);
  // Looks again at what `fd` is: the number may have been closed elsewhere and given out anew.
  void learn(int fd);
  void forget(int fd);

 private:
  enum class Kind : std::uint8_t { kUnknown, kSocket, kOther };
  Kind kind_of(int fd);

  std::vector<Kind> kinds_;  // by descriptor
  bool sigpipe_blocked_ = false;
};

}  // namespace banyan
