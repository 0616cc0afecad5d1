#include "parent/unix_listener.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <list>
#include <utility>

#include "core/msgpack.h"
#include "core/text.h"
#include "parent/adoption.h"
#include "parent/unix_client.h"

namespace banyan {

namespace {

constexpr int kAcceptsARound = 16;  // then others are served
constexpr Nanos kPause =
    200 * kMillisecond;        // without descriptors or memory: asking again at once helps nobody
constexpr int kBacklog = 256;  // who waits outside

Error refused(std::string_view text, std::string_view remedy) {
  return Error{ErrorClass::kRefused, Phase::kConnect, text, remedy};
}

Error failed(std::string_view what) {
  return system_error(ErrorClass::kIo, Phase::kConnect, what, errno);
}

// Made if it is missing. Ours alone: whoever could enter could put another socket in the place of ours.
Result<Fd> open_private_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return failed(cat("making the folder ", path));
  Fd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat status {};
  if (!folder && (errno == ENOTDIR || errno == ELOOP) && ::lstat(path.c_str(), &status) == 0)
    return refused(cat(path, S_ISLNK(status.st_mode) ? " is a symbolic link" : " is no folder"),
                   "choose a folder of your own, by the path where it really is");
  if (!folder || ::fstat(folder.get(), &status) != 0) return failed(cat("opening the folder ", path));
  if (status.st_uid != ::geteuid())
    return refused(
        cat("the folder ", path, " belongs to user ", status.st_uid, ", and this is user ", ::geteuid()),
        "choose a folder of your own");
  if ((status.st_mode & 077) != 0)
    return refused(cat("others may enter the folder ", path), cat("chmod 700 ", path));
  return folder;
}

}  // namespace

// --- the door ---

UnixListener::UnixListener(Loop& loop, Router& router, IdSource& ids, RouteMonitor& routes,
                           const std::string& path, const UnixListenerOptions& options)
    : loop_(loop), router_(router), ids_(ids), routes_(routes), path_(path), options_(options) {}

Result<std::unique_ptr<UnixListener>> UnixListener::open(Loop& loop, Router& router, IdSource& ids,
                                                         RouteMonitor& routes, const std::string& path,
                                                         const UnixListenerOptions& options) {
  ASSERT(options.limits.window == LinkLimits{}.window);
  std::unique_ptr<UnixListener> listener(new UnixListener(loop, router, ids, routes, path, options));
  const Result<Done> listens = listener->listen();
  if (!listens) return listens.error();
  return listener;
}

Result<Done> UnixListener::listen() {
  sockaddr_un address;
  if (!unix_address(path_, address))
    return refused(cat("the path ", path_, " is empty, or longer than ", sizeof address.sun_path - 1,
                       " bytes, which is all that a socket's may have"),
                   "choose a shorter one");
  const std::size_t slash = path_.find_last_of('/');
  name_ = slash == std::string::npos ? path_ : path_.substr(slash + 1);
  if (name_.empty()) return refused(cat(path_, " names no socket"), "put a name behind the folder");
  Result<Fd> folder = open_private_folder(slash == std::string::npos ? "."
                                          : slash == 0               ? "/"
                                                                     : path_.substr(0, slash));
  if (!folder) return folder.error();
  folder_ = std::move(*folder);
  // One at a time: of two who find the same dead socket, the second would remove the first one's new one.
  if (::flock(folder_.get(), LOCK_EX | LOCK_NB) != 0)
    return refused(cat("somebody else is making a socket beside ", path_, " just now"), "try again");
  Fd door(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!door) return failed("socket");
  ::fchmod(door.get(), 0600);  // what is bound has this mode from the beginning
  const auto bind = [&] {
    return ::bind(door.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  };
  if (bind() != 0) {
    if (errno != EADDRINUSE) return failed(cat("binding ", path_));
    struct stat there {};
    const bool is_socket =
        ::fstatat(folder_.get(), name_.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(there.st_mode);
    const UnixFound found = is_socket ? look_at_socket(path_) : UnixFound{UnixFound::Kind::kNoSocket, {}};
    if (found.kind == UnixFound::Kind::kNoSocket)
      return refused(cat(path_, " is there, and is not a socket of this kind"),
                     "choose another path, or remove it");
    if (found.kind == UnixFound::Kind::kListener)
      return refused(cat("somebody listens at ", path_, " already: process ", found.pid),
                     "choose another path, or end that one");
    if (found.kind == UnixFound::Kind::kUnknown)
      return system_error(ErrorClass::kIo, Phase::kConnect, cat("looking who listens at ", path_),
                          found.error);
    if (::unlinkat(folder_.get(), name_.c_str(), 0) != 0)
      return failed(cat("removing the dead socket ", path_));
    if (bind() != 0) return failed(cat("binding ", path_));
  }
  struct stat status {};
  if (::fstatat(folder_.get(), name_.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISSOCK(status.st_mode))
    return refused(cat("the folder of ", path_, " was exchanged meanwhile"), "choose a folder of your own");
  device_ = status.st_dev;
  inode_ = status.st_ino;
  door_ = std::move(door);
  if ((status.st_mode & 077) != 0 && ::fchmodat(folder_.get(), name_.c_str(), 0600, 0) != 0)
    return failed(cat("chmod 600 ", path_));
  if (::listen(door_.get(), kBacklog) != 0) return failed(cat("listening at ", path_));
  ::flock(folder_.get(), LOCK_UN);
  watch_ = loop_.watch(door_.get(), {.read = true}, [this](Ready) { accept_some(); });
  is_open_ = true;
  return Done{};
}

UnixListener::~UnixListener() {
  *alive_ = false;
  loop_.cancel(pause_);
  loop_.cancel(end_);
  loop_.unwatch(watch_);
  visitors_.clear();
  // While the door is open its inode is nobody else's.
  struct stat status {};
  if (door_ && ::fstatat(folder_.get(), name_.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
      status.st_dev == device_ && status.st_ino == inode_)
    ::unlinkat(folder_.get(), name_.c_str(), 0);
  if (door_) loop_.close(door_.release());
}

// --- who comes in ---

// Says hello, or is gone by the deadline.
class UnixListener::Visitor final : private Link::Owner {
 public:
  Visitor(UnixListener& listener, std::uint64_t id, int socket, pid_t its_pid)
      : pid(its_pid), listener_(listener), id_(id) {
    link = std::make_unique<Link>(listener.loop_, LinkFds{socket, socket}, static_cast<Link::Owner&>(*this),
                                  listener.options_.limits, listener.router_.window_budget(), false);
    // So that one of another version, which cannot be understood, understands why.
    link->send_control(handshake_header(kHeartbeat), Packer().array(1).number(0u).take());
    deadline_ = listener.loop_.after(listener.options_.hello_deadline, [this] { listener_.forget(id_); });
  }
  ~Visitor() { listener_.loop_.cancel(deadline_); }
  Visitor(const Visitor&) = delete;
  Visitor& operator=(const Visitor&) = delete;

  const pid_t pid;
  Hello hello;
  std::unique_ptr<Link> link;

 private:
  void on_frame(Link& from, const Header& header, Bytes payload) override {
    if (said_hello_) return;
    const auto wrong = [&](std::string_view text) {
      from.fail(Error{ErrorClass::kProtocol, Phase::kHello, text, {}});
    };
    if (!header.has(kControl) || header.handle != kHello) return wrong("its first frame was not a hello");
    Result<Hello> said = Hello::decode(payload);
    if (!said) return wrong(said.error().text);
    if (!may_have_children(listener_.router_)) return wrong("a tree has so many levels and no more");
    said_hello_ = true;
    hello = std::move(*said);
    // One for itself, which may have to come from further up. Most have no children: who does asks for more.
    listener_.ids_.take(
        1, [&listener = listener_, alive = listener_.alive_, id = id_](const IdRange* ids, const Dead&) {
          if (!*alive) return;
          if (ids != nullptr) return listener.welcome(id, *ids);
          listener.forget(id);
        });
  }
  void on_sent(Link&, std::uint32_t, const Header&) override {}
  void on_down(Link&, const Error&, FrameQueue) override { listener_.forget(id_); }

  UnixListener& listener_;
  const std::uint64_t id_;
  Loop::TimerId deadline_ = 0;
  bool said_hello_ = false;
};

// Open while there is room, and somebody may come.
void UnixListener::watch_door() {
  const bool has_room =
      visitors_.size() < kGreetingMax && visitors_.size() + clients_.size() < options_.clients_max;
  const bool open = has_room && !ending_ && pause_ == 0;
  if (open == is_open_) return;
  is_open_ = open;
  loop_.change(watch_, {.read = open});
}

void UnixListener::pause(Nanos delay) {
  pause_ = loop_.after(delay, [this] {
    pause_ = 0;
    watch_door();
  });
}

void UnixListener::accept_some() {
  for (int i = 0; i < kAcceptsARound && is_open_; ++i) {
    const bool may_be_more = accept_one();
    watch_door();
    if (!may_be_more) return;
  }
}

bool UnixListener::accept_one() {
  Fd socket(::accept4(door_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) {
    if (errno == EINTR || errno == ECONNABORTED) return true;
    if (errno != EAGAIN && errno != EWOULDBLOCK) pause(kPause);
    return false;
  }
  ucred who{};
  socklen_t size = sizeof who;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) != 0 || who.uid != ::geteuid()) {
    ++turned_away_;
    return true;
  }
  const std::uint64_t id = next_++;
  visitors_[id] = std::make_unique<Visitor>(*this, id, socket.release(), who.pid);
  return true;
}

// From the loop: it may be in the middle of telling us.
void UnixListener::forget(std::uint64_t visitor) {
  loop_.post([this, alive = alive_, visitor] {
    if (!*alive) return;
    visitors_.erase(visitor);
    watch_door();
  });
}

void UnixListener::welcome(std::uint64_t visitor, IdRange ids) {
  const auto found = visitors_.find(visitor);
  if (found == visitors_.end() || ending_ || !found->second->link->is_open()) return forget(visitor);
  Visitor& client = *found->second;
  const ContextId id = ids.first;
  clients_[id];
  Identity identity;
  identity.name = cat("process ", client.pid);
  identity.log_level = options_.log_level;
  identity.limits = options_.limits;
  adopt(router_, routes_, std::move(client.link), ids, identity, true,
        [this, alive = alive_, id](const Error& error) {
          if (*alive && !error.detached) on_client_gone(id, error);
        });
  // Behind what it says with its hello: from the loop.
  loop_.post([this, alive = alive_, id, visitor] {
    if (!*alive) return;
    const auto up = visitors_.find(visitor);
    if (up == visitors_.end()) return;
    const Hello hello = std::move(up->second->hello);
    const pid_t pid = up->second->pid;
    visitors_.erase(up);
    watch_door();
    tell<ContextId, const Hello&, pid_t>(&UnixListener::on_up, id, hello, pid);
  });
}

// Who is told may replace who is told, or destroy us.
template <class... What>
void UnixListener::tell(Function<void(What...)> UnixListener::*whom, What... what) {
  if (!(this->*whom)) return;
  const Alive alive = alive_;
  Function<void(What...)> call = std::move(this->*whom);
  call(what...);
  if (*alive && !(this->*whom)) this->*whom = std::move(call);
}

// --- who goes ---

void UnixListener::on_client_gone(ContextId client, const Error& why) {
  clients_.erase(client);
  if (!ending_) watch_door();
  // From the loop: the router is in the middle of what the end of a link means.
  loop_.post([this, alive = alive_, client, why] {
    if (!*alive) return;
    tell<ContextId, const Error&>(&UnixListener::on_gone, client, why);
  });
  if (!clients_.empty() || !on_empty_) return;
  loop_.post([this, alive = alive_] {
    if (*alive && on_empty_) std::exchange(on_empty_, nullptr)();
  });
}

void UnixListener::shut_down(Nanos within, Function<void()> done) {
  ending_ = true;
  watch_door();
  visitors_.clear();
  if (clients_.empty()) return loop_.post(std::move(done));
  on_empty_ = std::move(done);
  const Buffer payload = Packer().array(1).number(std::uint64_t(within / kMillisecond)).take();
  for (const auto& [id, nothing] : clients_) router_.send_control(id, kShutdown, payload);
  loop_.cancel(end_);
  end_ = loop_.after(within, [this] {
    std::list<ContextId> left;
    for (const auto& [id, nothing] : clients_) left.push_back(id);
    for (const ContextId id : left)
      router_.drop_child(id, Error{ErrorClass::kTimeout, Phase::kLink, "it did not end when told to", {}});
  });
}

}  // namespace banyan
