// Goal: a new host's key is written once, whole, and privately, whoever else writes at that moment.
// Method: files in a folder of our own; several processes that write at once; ssh-keygen reads what came of
// it.
#include "transports/connector/known_hosts_file.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>

#include "core/epoll_loop.h"
#include "tests/transports/ssh_tools.h"
#include "transports/connector/public_key.h"

using namespace banyan;
using namespace banyan::connector;
using test::made_up_key;
using test::SshFolder;

namespace {

mode_t mode_of(const std::string& path) {
  struct stat info;
  REQUIRE(::stat(path.c_str(), &info) == 0);
  return info.st_mode & 0777;
}

Kept must_append(const std::string& path, std::string_view name, std::uint16_t port, bool hash,
                 std::uint8_t key) {
  const Result<Kept> kept = append_host_key(path, name, port, hash, made_up_key(key));
  INFO((kept ? "" : kept.error().text));
  REQUIRE(kept);
  return *kept;
}

// Again while another process has the lock, without the pauses that a session makes.
Result<Kept> append_patiently(const std::string& path, std::string_view name, bool hash, Bytes key) {
  EpollLoop clock;
  const Nanos deadline = clock.now() + 20 * kSecond;
  for (;;) {
    Result<Kept> kept = append_host_key(path, name, 22, hash, key);
    if (!kept || *kept != Kept::kLocked || clock.now() > deadline) return kept;
  }
}

}  // namespace

TEST_CASE("the first key makes the folder and the file, for the user alone") {
  SshFolder folder;
  const std::string path = folder.path(".ssh") + "/known_hosts";
  CHECK(must_append(path, "Web", 22, false, 1) == Kept::kWritten);
  CHECK(mode_of(folder.path(".ssh")) == 0700);
  CHECK(mode_of(path) == 0600);
  CHECK(folder.read(".ssh/known_hosts") == cat("web ", public_key_text(made_up_key(1)), "\n"));
}

TEST_CASE("a key that is known is not written again, on another port it is") {
  SshFolder folder;
  const std::string path = folder.path("known_hosts");
  CHECK(must_append(path, "web", 2222, false, 1) == Kept::kWritten);
  CHECK(must_append(path, "web", 2222, false, 1) == Kept::kWasThere);
  CHECK(must_append(path, "web", 2223, false, 1) == Kept::kWritten);
  const std::string key = public_key_text(made_up_key(1));
  CHECK(folder.read("known_hosts") == cat("[web]:2222 ", key, "\n[web]:2223 ", key, "\n"));
}

TEST_CASE("a last line without an end is ended first") {
  SshFolder folder;
  const std::string first = cat("db ", public_key_text(made_up_key(2)));
  const std::string path = folder.write("known_hosts", first);
  CHECK(must_append(path, "web", 22, false, 1) == Kept::kWritten);
  CHECK(folder.read("known_hosts") == cat(first, "\nweb ", public_key_text(made_up_key(1)), "\n"));
}

TEST_CASE("ssh-keygen finds what we wrote, hashed or not") {
  SshFolder folder;
  const std::string path = folder.path("known_hosts");
  must_append(path, "plain", 22, false, 1);
  must_append(path, "Hidden", 22, true, 2);
  must_append(path, "ported", 2222, true, 3);
  CHECK(folder.run("ssh-keygen -F plain -f known_hosts").text.find("found: line 1") != std::string::npos);
  CHECK(folder.run("ssh-keygen -F hidden -f known_hosts").text.find("found: line 2") != std::string::npos);
  CHECK(folder.run("ssh-keygen -F '[ported]:2222' -f known_hosts").text.find("found: line 3") !=
        std::string::npos);
  CHECK(folder.read("known_hosts").find("idden") == std::string::npos);
  CHECK(must_append(path, "hidden", 22, true, 2) == Kept::kWasThere);
}

TEST_CASE("another key of the host, or its revocation, is not written over") {
  SshFolder folder;
  const std::string text =
      cat("web ", public_key_text(made_up_key(1)), "\n@revoked * ", public_key_text(made_up_key(3)), "\n");
  const std::string path = folder.write("known_hosts", text);
  for (const std::uint8_t key : std::vector<std::uint8_t>{2, 3}) {
    const Result<Kept> kept = append_host_key(path, "web", 22, false, made_up_key(key));
    REQUIRE_FALSE(kept);
    CHECK(kept.error().error_class == ErrorClass::kHostKey);
    CHECK(kept.error().text.find(fingerprint(made_up_key(key))) != std::string::npos);
  }
  CHECK(folder.read("known_hosts") == text);
}

TEST_CASE("processes that write the same hosts at once write each of them once") {
  SshFolder folder;
  const std::string path = folder.path(".ssh") + "/known_hosts";
  constexpr int kProcesses = 8, kHosts = 20;
  std::vector<pid_t> writers;
  Result<FdPair> gate = make_pipe();  // all begin when its writing end is closed
  REQUIRE(gate);
  for (int i = 0; i < kProcesses; ++i) {
    const pid_t pid = ::fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
      gate->second.reset();
      char byte;
      int code = ::read(gate->first.get(), &byte, 1) == 0 ? 0 : 1;
      for (int host = 0; host < kHosts; ++host)
        if (!append_patiently(path, cat("host", host), host % 2 == 0, made_up_key(std::uint8_t(host))))
          code = 1;
      ::_exit(code);
    }
    writers.push_back(pid);
  }
  gate->second.reset();
  for (const pid_t pid : writers) {
    int status = -1;
    REQUIRE(retry([&] { return ::waitpid(pid, &status, 0); }) == pid);
    CHECK(status == 0);
  }
  const std::string text = folder.read(".ssh/known_hosts");
  CHECK(std::ranges::count(text, '\n') == kHosts);
  KnownHosts hosts;
  REQUIRE(read_known_hosts(path, hosts));
  CHECK(hosts.bad_lines() == 0);
  for (int host = 0; host < kHosts; ++host)
    CHECK(hosts.check(cat("host", host), 22, made_up_key(std::uint8_t(host))).answer ==
          KnownHosts::Answer::kKnown);
}

TEST_CASE("a file that is replaced while we wait for it is written where it is now") {
  SshFolder folder;
  const std::string path = folder.write("known_hosts", "# old\n"), same = folder.path("same");
  REQUIRE(::link(path.c_str(), same.c_str()) == 0);  // so that ours cannot be mistaken for the writer's
  const Fd holder(::open(same.c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(::flock(holder.get(), LOCK_EX) == 0);
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    const Result<Kept> kept = append_patiently(path, "web", false, made_up_key(1));
    ::_exit(kept && *kept == Kept::kWritten ? 0 : 1);
  }
  // Once it has the old file open, that is replaced.
  const std::string descriptors = cat("/proc/", pid, "/fd");
  const auto has_it_open = [&] {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(descriptors, error))
      if (std::filesystem::read_symlink(entry.path(), error) == path) return true;
    return false;
  };
  while (!has_it_open()) {
  }
  folder.write("new", "# new\n");
  REQUIRE(::rename(folder.path("new").c_str(), path.c_str()) == 0);
  ::flock(holder.get(), LOCK_UN);
  int status = -1;
  REQUIRE(retry([&] { return ::waitpid(pid, &status, 0); }) == pid);
  CHECK(status == 0);
  CHECK(folder.read("known_hosts") == cat("# new\nweb ", public_key_text(made_up_key(1)), "\n"));
}

TEST_CASE("a lock that somebody has is told of at once, and nothing is written") {
  SshFolder folder;
  const std::string path = folder.write("known_hosts", "");
  const Fd holder(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(::flock(holder.get(), LOCK_EX) == 0);
  const Nanos before = EpollLoop().now();
  const Result<Kept> kept = append_host_key(path, "web", 22, false, made_up_key(1));
  REQUIRE(kept);
  CHECK(*kept == Kept::kLocked);
  CHECK(EpollLoop().now() - before < kSecond);
  CHECK(folder.read("known_hosts").empty());
  CHECK(is_locked(path).text.find("locked") != std::string::npos);
}

TEST_CASE("where nothing can be kept nothing is read, and that is no failure") {
  KnownHosts hosts;
  CHECK(read_known_hosts("/dev/null", hosts));
  CHECK(read_known_hosts("/nowhere/at/all", hosts));
  CHECK(must_append("/dev/null", "web", 22, false, 1) == Kept::kNowhere);
}

TEST_CASE("what is no file, no name or no key is refused") {
  SshFolder folder;
  const std::string pipe = folder.path("pipe");
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  KnownHosts hosts;
  CHECK_FALSE(read_known_hosts(pipe, hosts));
  CHECK_FALSE(append_host_key(pipe, "web", 22, false, made_up_key(1)));
  CHECK_FALSE(append_host_key(folder.path("a/b/c"), "web", 22, false, made_up_key(1)));
  for (const std::string_view name :
       {"", "*", "web?", "!web", "web,db", "|1|x", "@revoked", "web db", "web\ndb", "#web"})
    CHECK_FALSE(append_host_key(folder.path("file"), name, 22, false, made_up_key(1)));
  CHECK_FALSE(append_host_key(folder.path("file"), "web", 22, false, as_bytes("no key")));
  CHECK_FALSE(std::filesystem::exists(folder.path("file")));
}

TEST_CASE("a full disk leaves no half line behind") {
  // A limit on the file's size stands for the disk: the kernel then writes what still fits.
  SshFolder folder;
  const std::string text = "# a line that is there\n";
  const std::string path = folder.write("known_hosts", text);
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    const rlimit limit{text.size() + 10, text.size() + 10};
    ::signal(SIGXFSZ, SIG_IGN);
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) ::_exit(2);
    ::_exit(append_host_key(path, "web", 22, false, made_up_key(1)) ? 1 : 0);
  }
  int status = -1;
  REQUIRE(retry([&] { return ::waitpid(pid, &status, 0); }) == pid);
  CHECK(status == 0);
  CHECK(folder.read("known_hosts") == text);
}
