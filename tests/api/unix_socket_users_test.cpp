// Goal: neither side of a socket believes another user, whatever way led there.
// Method: a forked process that turns into another user, but keeps the owner's way through the folders, so
// that only the kernel's word on who it is can keep it out. Needs root.

#include <poll.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <string>

#include "core/text.h"
#include "parent/unix_client.h"
#include "parent/unix_listener.h"
#include "tests/support/not_tested.h"
#include "tests/support/tree.h"

using namespace banyan;
using namespace banyan::test;

namespace {

constexpr uid_t kNobody = 65'534;

bool may_change_users() {
  if (::geteuid() == 0) return true;
  not_tested("users", "only root can try what other users may");
  return false;
}

struct Folder {
  std::string path = cat(std::string_view(std::getenv("TMPDIR")), "/door");
  Folder() { REQUIRE(::mkdir(path.c_str(), 0700) == 0); }
  ~Folder() {
    ::unlink(door().c_str());
    ::rmdir(path.c_str());
  }
  std::string door() const { return path + "/socket"; }
};

// Runs `what` as another user in a process of its own, which then waits until it is killed.
template <class What>
pid_t as_nobody(const Fd& tells, const What& what) {
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid != 0) return pid;
  char done = 'n';
  if (::syscall(SYS_setresuid, -1, kNobody, -1) == 0) {
    ::setfsuid(0);
    done = what() ? 'y' : 'n';
  }
  [[maybe_unused]] const auto written = ::write(tells.get(), &done, 1);
  for (;;) ::pause();
}

void end(pid_t pid) {
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

}  // namespace

TEST_CASE("a client of another user is turned away before a byte of it is read") {
  if (!may_change_users()) return;
  Folder folder;
  EpollLoop loop;
  Router router(loop, config_of(0));
  IdSource ids(router, kAllIds);
  RouteMonitor routes(router, ids);
  auto listener = UnixListener::open(loop, router, ids, routes, folder.door());
  REQUIRE(bool(listener));
  auto pipe = make_pipe();
  REQUIRE(bool(pipe));
  const std::string path = folder.door();
  const pid_t pid = as_nobody(pipe->second, [&path] { return bool(look_at_socket(path).socket); });
  char connected = 0;
  REQUIRE(::read(pipe->first.get(), &connected, 1) == 1);
  REQUIRE(connected == 'y');  // the folder has not kept it out

  CHECK(run_until(loop, [&] { return (*listener)->turned_away() == 1; }));

  CHECK((*listener)->greeting() == 0);
  CHECK((*listener)->clients() == 0);
  end(pid);
}

TEST_CASE("a socket that another user holds is not joined, and he is named") {
  if (!may_change_users()) return;
  Folder folder;
  auto pipe = make_pipe();
  REQUIRE(bool(pipe));
  const std::string path = folder.door();
  const pid_t pid = as_nobody(pipe->second, [&path] {
    sockaddr_un address;
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return unix_address(path, address) &&
           ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
           ::listen(fd, 1) == 0;
  });
  char listens = 0;
  REQUIRE(::read(pipe->first.get(), &listens, 1) == 1);
  REQUIRE(listens == 'y');

  const Result<Fd> joined = connect_to_listener(path);

  REQUIRE_FALSE(bool(joined));
  CHECK(joined.error().error_class == ErrorClass::kRefused);
  CHECK(joined.error().text.find(cat("held by user ", kNobody)) != std::string::npos);
  end(pid);
}

TEST_CASE("a folder of another user is refused, though we may enter it") {
  if (!may_change_users()) return;
  Folder folder;
  REQUIRE(::chown(folder.path.c_str(), kNobody, gid_t(-1)) == 0);
  EpollLoop loop;
  Router router(loop, config_of(0));
  IdSource ids(router, kAllIds);
  RouteMonitor routes(router, ids);

  const auto listener = UnixListener::open(loop, router, ids, routes, folder.door());

  REQUIRE_FALSE(bool(listener));
  CHECK(listener.error().text.find(cat("belongs to user ", kNobody)) != std::string::npos);
}
