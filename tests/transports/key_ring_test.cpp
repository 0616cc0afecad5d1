// Goal: a key is opened once for all who wait for it, beside the loop; who has gone is not told; and no file
// keeps the ring busy for long. Method: keys that ssh-keygen encrypted, a real loop, and the ring's real
// thread (ThreadSanitizer watches it in ./dev test --sanitize=thread).
#include "transports/connector/key_ring.h"

#include <sys/stat.h>
#include <time.h>

#include <catch2/catch.hpp>
#include <memory>
#include <optional>
#include <string>

#include "tests/support/run_until.h"
#include "tests/transports/ssh_tools.h"

using namespace banyan;
using namespace banyan::connector;
using test::SshFolder;

namespace {

constexpr Nanos kPatience = 20 * kSecond;  // far beyond any honest wait
constexpr std::string_view kRight = "open sesame";

Secret secret(std::string_view text) {
  return Secret::copy_of(as_bytes(text));
}

std::string make_key(const SshFolder& folder, std::string_view name, int rounds = 2) {
  folder.must_run(cat("ssh-keygen -q -t ed25519 -a ", rounds, " -N '", kRight, "' -C '' -f ", name));
  return folder.path(name);
}

template <class Condition>
void run_until(EpollLoop& loop, Condition condition) {
  REQUIRE(test::run_until(loop, condition, kPatience));
}

// One who asked, and what he was told.
struct Session {
  KeyRing::OnOpened waits() {
    return [this](const Result<KeyRing::Key>& result) {
      ++answers;
      if (result) {
        key = *result;
      } else {
        error = result.error().text;
      }
    };
  }
  int answers = 0;
  KeyRing::Key key;
  std::string error;
};

}  // namespace

TEST_CASE("two sessions that wait for one key are given the same, which is kept for a third") {
  const SshFolder folder;
  const std::string path = make_key(folder, "key");
  EpollLoop loop;
  KeyRing ring(loop);
  Session one, other, third;

  CHECK(ring.find(path) == nullptr);
  ring.open(path, secret(kRight), one.waits());
  ring.open(path, secret(kRight), other.waits());
  CHECK(one.answers + other.answers == 0);
  run_until(loop, [&] { return one.answers > 0 && other.answers > 0; });

  REQUIRE(one.key != nullptr);
  CHECK(one.key->type() == "ssh-ed25519");
  CHECK(other.key == one.key);
  CHECK(ring.find(path) == one.key);
  // It is not opened again: whatever the file is by now.
  folder.write("key", "no key");
  ring.open(path, secret(kRight), third.waits());
  CHECK(third.answers == 0);
  run_until(loop, [&] { return third.answers > 0; });
  CHECK(third.key == one.key);
  CHECK(one.answers == 1);
  CHECK(other.answers == 1);
}

TEST_CASE("a wrong passphrase is an error for who gave it, and costs nobody else his key") {
  const SshFolder folder;
  const std::string path = make_key(folder, "key"), second = make_key(folder, "second");
  EpollLoop loop;
  KeyRing ring(loop);
  Session wrong, right, elsewhere, late;

  ring.open(path, secret("wrong"), wrong.waits());
  ring.open(path, secret(kRight), right.waits());
  ring.open(second, secret(kRight), elsewhere.waits());
  run_until(loop, [&] { return elsewhere.answers > 0; });

  CHECK(wrong.key == nullptr);
  CHECK(wrong.error.find("does not open with that passphrase") != std::string::npos);
  REQUIRE(right.key != nullptr);
  REQUIRE(elsewhere.key != nullptr);
  CHECK(elsewhere.key != right.key);
  for (const Session* session : {&wrong, &right, &elsewhere}) CHECK(session->answers == 1);
  // No file, or one that others may read.
  ring.open(folder.path("none"), secret(kRight), late.waits());
  run_until(loop, [&] { return late.answers > 0; });
  CHECK(late.error.find("none") != std::string::npos);
  REQUIRE(::chmod(make_key(folder, "open").c_str(), 0644) == 0);
  ring.open(folder.path("open"), secret(kRight), late.waits());
  run_until(loop, [&] { return late.answers > 1; });
  CHECK(late.error.find("may be used by others") != std::string::npos);
  // What people write for none; nobody is to be told to change its mode.
  ring.open("/dev/null", secret(kRight), late.waits());
  run_until(loop, [&] { return late.answers > 2; });
  CHECK(late.error.find("is a device") != std::string::npos);
}

TEST_CASE("a ring that goes while a key is being opened tells nobody, and leaves no thread") {
  const SshFolder folder;
  const std::string path = make_key(folder, "key"), second = make_key(folder, "second");
  EpollLoop loop;
  Session one, other, behind;
  {
    KeyRing ring(loop);
    ring.open(path, secret(kRight), one.waits());
    ring.open(path, secret(kRight), other.waits());
    ring.open(second, secret(kRight), behind.waits());
  }
  // What its thread has posted runs now.
  for (int i = 0; i < 3; ++i) loop.run_once(0);
  CHECK(one.answers + other.answers + behind.answers == 0);
}

TEST_CASE("who is told may end the ring: those who wait behind him are not told any more") {
  const SshFolder folder;
  const std::string path = make_key(folder, "key"), second = make_key(folder, "second");
  EpollLoop loop;
  auto ring = std::make_unique<KeyRing>(loop);
  Session other, behind;
  bool told = false;
  ring->open(path, secret(kRight), [&](const Result<KeyRing::Key>& key) {
    told = bool(key);
    ring.reset();
  });
  ring->open(path, secret(kRight), other.waits());
  ring->open(second, secret(kRight), behind.waits());
  run_until(loop, [&] { return told; });
  for (int i = 0; i < 3; ++i) loop.run_once(0);
  CHECK(ring == nullptr);
  CHECK(other.answers + behind.answers == 0);
}

TEST_CASE("opening a key is no work of the loop's thread") {
  const SshFolder folder;
  const std::string path = make_key(folder, "key", 16);
  const Result<Secret> text = read_private_key(path);
  REQUIRE(text);
  // Of this thread alone, so however busy the machine is.
  const auto processor_time = [] {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return Nanos(time.tv_sec) * kSecond + time.tv_nsec;
  };
  const Nanos before = processor_time();
  REQUIRE(parse_private_key(text->bytes(), path, kRight));
  const Nanos opening = processor_time() - before;

  EpollLoop loop;
  KeyRing ring(loop);
  Session session;
  const Nanos began = processor_time();
  ring.open(path, secret(kRight), session.waits());
  run_until(loop, [&] { return session.answers > 0; });
  CHECK(processor_time() - began < opening / 2);
  CHECK(session.key != nullptr);
}
