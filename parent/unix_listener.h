// parent/unix_listener.h -- a door of ours: a unix socket whose clients become our children, with our
// authority.
//
// For the programs of one user on one machine. Whoever may enter may do what we may, so only we may enter:
// the socket lies in a folder that nobody else can open, has mode 0600, and each client is asked of the
// kernel: of another user than ours, root included, it is turned away before a byte of it is read. A client
// says hello as every child does, and gets an id and ancestors (parent/child_context.h is what it becomes);
// ids for children of its own when it asks for them. What it says itself carries our authority: contexts
// beneath us obey it, those above do not, and it may talk to all of ours whatever the policy. Children of its
// own speak for themselves.
//
// An id is never given again, and beneath one link of the root there are 65,536: a listener that is no root
// lets in as many clients in all its life, less what else it gave away (2,048 fewer for each level further
// down, 64 for each client that has children). After that who knocks is sent away; who is there stays. One
// that is to serve more than that is a root itself: it has four thousand million.
//
// Nothing here waits: clients come in rounds, few at a time may be about to say hello, and each has a
// deadline for that. The client's side: parent/unix_client.h. Thread: the loop's. Lifetime: all it is given
// outlives it; in each of its callbacks, which come from the loop, it may be destroyed.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "core/identity.h"
#include "parent/ids.h"
#include "parent/route_monitor.h"

namespace banyan {

constexpr std::size_t kGreetingMax = 64;        // clients that have not said hello: the others wait outside
constexpr std::size_t kUnixClientsMax = 4'096;  // at once; each costs a link

struct UnixListenerOptions {
  Nanos hello_deadline = 10 * kSecond;
  std::size_t clients_max = kUnixClientsMax;
  std::uint8_t log_level = 0;  // of the clients
  LinkLimits limits;           // REQUIRES: the first window is LinkLimits's own
};

class UnixListener {
 public:
  // `path` names the socket; its folder is made if it is missing. Errors: somebody listens there; what lies
  // there is no socket; the folder is not ours alone; the path is longer than a socket's may be.
  static Result<std::unique_ptr<UnixListener>> open(Loop& loop, Router& router, IdSource& ids,
                                                    RouteMonitor& routes, const std::string& path,
                                                    const UnixListenerOptions& options = {});
  UnixListener(const UnixListener&) = delete;
  UnixListener& operator=(const UnixListener&) = delete;
  // Nobody comes in any more, and the socket is removed if it is still ours. Who is there stays: see
  // shut_down().
  ~UnixListener();

  // A client is a context of ours now; it has gone, after it has come.
  Function<void(ContextId client, const Hello&, pid_t)> on_up;
  Function<void(ContextId client, const Error& why)> on_gone;

  // Sends SHUTDOWN to all clients, and closes the links of those that are there after `within`. Nobody comes
  // in any more. `done` when all are gone.
  void shut_down(Nanos within, Function<void()> done);

  const std::string& path() const { return path_; }
  std::size_t clients() const { return clients_.size(); }
  std::size_t greeting() const { return visitors_.size(); }
  std::uint64_t turned_away() const { return turned_away_; }

 private:
  class Visitor;
  UnixListener(Loop& loop, Router& router, IdSource& ids, RouteMonitor& routes, const std::string& path,
               const UnixListenerOptions& options);
  Result<Done> listen();
  void accept_some();
  bool accept_one();
  void watch_door();
  void pause(Nanos delay);
  void forget(std::uint64_t visitor);
  void welcome(std::uint64_t visitor, IdRange ids);
  void on_client_gone(ContextId client, const Error& why);
  template <class... What>
  void tell(Function<void(What...)> UnixListener::*whom, What... what);

  Loop& loop_;
  Router& router_;
  IdSource& ids_;
  RouteMonitor& routes_;
  const std::string path_;
  const UnixListenerOptions options_;
  Fd folder_, door_;
  std::string name_;  // of the socket, in that folder
  dev_t device_ = 0;  // what we bound
  ino_t inode_ = 0;
  Loop::WatchId watch_ = 0;
  bool is_open_ = false;  // the door is being watched
  Loop::TimerId pause_ = 0, end_ = 0;
  std::uint64_t next_ = 1, turned_away_ = 0;
  Table<std::uint64_t, std::unique_ptr<Visitor>> visitors_;
  Table<ContextId, Nothing> clients_;
  bool ending_ = false;
  Function<void()> on_empty_;
  Alive alive_;
};

}  // namespace banyan
