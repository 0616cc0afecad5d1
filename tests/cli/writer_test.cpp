// Goal: output waits for its reader without stopping the loop, and is neither lost nor kept for ever.
// Method: a Writer over real pipes that nobody reads, that somebody reads late, and whose reader goes away.
#include "cli/writer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "core/epoll_loop.h"
#include "core/fd.h"

using namespace banyan;
using namespace banyan::cli;

namespace {

template <class Condition>
bool run_until(EpollLoop& loop, Condition condition) {
  const Nanos end = loop.now() + 20 * kSecond;
  while (!condition()) {
    if (loop.now() > end) return false;
    loop.run_once(20 * kMillisecond);
  }
  return true;
}

std::size_t drain(int fd, std::string& into) {
  char buffer[4096];
  ssize_t got = retry([&] { return ::read(fd, buffer, sizeof buffer); });
  if (got > 0) into.append(buffer, std::size_t(got));
  return got > 0 ? std::size_t(got) : 0;
}

struct Pipe {
  Fd read, write;
  Pipe() {
    auto pair = make_pipe();
    REQUIRE(bool(pair));
    read = std::move(pair->first);
    write = std::move(pair->second);
  }
};

constexpr std::size_t kMuch = 1 << 20;  // more than any pipe holds

}  // namespace

TEST_CASE("what is written arrives whole and in order, and is told after it has left") {
  EpollLoop loop;
  Pipe pipe;
  Writer writer(loop, [](int, int) { FAIL("nothing fails here"); });
  std::string expected, got;
  for (int i = 0; i < 1'000; ++i) {
    std::string line = "line " + std::to_string(i) + "\n";
    expected += line;
    writer.write(pipe.write.get(), line);
  }
  bool told = false;
  writer.when_written([&] { told = true; });
  CHECK_FALSE(writer.is_idle());
  while (got.size() < expected.size()) REQUIRE(drain(pipe.read.get(), got) > 0);
  REQUIRE(run_until(loop, [&] { return told; }));
  CHECK(got == expected);
  CHECK(writer.is_idle());
}

TEST_CASE("a reader who does not read stops neither the loop nor another descriptor's writer") {
  EpollLoop loop;
  Pipe slow, quick;
  Writer slow_writer(loop, [](int, int) {});
  Writer quick_writer(loop, [](int, int) {});
  bool slow_done = false, quick_done = false;
  slow_writer.write(slow.write.get(), std::string(kMuch, 'x'));
  slow_writer.when_written([&] { slow_done = true; });
  quick_writer.write(quick.write.get(), "hello\n");
  quick_writer.when_written([&] { quick_done = true; });
  REQUIRE(run_until(loop, [&] { return quick_done; }));
  CHECK_FALSE(slow_done);
  std::string got;
  while (got.size() < kMuch) REQUIRE(drain(slow.read.get(), got) > 0);
  REQUIRE(run_until(loop, [&] { return slow_done; }));
}

TEST_CASE("a reader who goes away is told once, and the rest is thrown away") {
  ::signal(SIGPIPE, SIG_IGN);
  EpollLoop loop;
  Pipe gone, there;
  std::vector<std::pair<int, int>> failures;
  Writer writer(loop, [&](int fd, int error) { failures.emplace_back(fd, error); });
  gone.read.reset();
  bool told = false;
  writer.write(gone.write.get(), "one\n");
  writer.write(gone.write.get(), "two\n");
  writer.write(there.write.get(), "three\n");
  writer.when_written([&] { told = true; });
  REQUIRE(run_until(loop, [&] { return told; }));
  REQUIRE(failures.size() == 1);
  CHECK(failures[0] == std::make_pair(gone.write.get(), EPIPE));
  std::string got;
  drain(there.read.get(), got);
  CHECK(got == "three\n");
}

TEST_CASE("a full disk is told with its error") {
  EpollLoop loop;
  Fd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  REQUIRE(bool(full));
  int error = 0;
  Writer writer(loop, [&](int, int number) { error = number; });
  writer.write(full.get(), "x");
  REQUIRE(run_until(loop, [&] { return error != 0; }));
  CHECK(error == ENOSPC);
}

TEST_CASE("a descriptor that somebody else made non-blocking is waited for all the same") {
  EpollLoop loop;
  Pipe pipe;
  ::fcntl(pipe.write.get(), F_SETFL, O_NONBLOCK);
  Writer writer(loop, [](int, int) { FAIL("EAGAIN is no failure"); });
  bool told = false;
  writer.write(pipe.write.get(), std::string(kMuch, 'x'));
  writer.when_written([&] { told = true; });
  std::string got;
  while (got.size() < kMuch) REQUIRE(drain(pipe.read.get(), got) > 0);
  REQUIRE(run_until(loop, [&] { return told; }));
}

TEST_CASE("discarding ends the wait of those who asked, without a reader") {
  EpollLoop loop;
  Pipe pipe;
  {
    Writer writer(loop, [](int, int) {});
    bool told = false;
    writer.write(pipe.write.get(), std::string(kMuch, 'x'));
    writer.write(pipe.write.get(), std::string(kMuch, 'y'));
    writer.when_written([&] { told = true; });
    writer.discard();
    REQUIRE(run_until(loop, [&] { return told; }));
  }
  pipe.read.reset();  // the thread left behind wakes and ends
}

TEST_CASE("a writer that goes away with its loop running calls nobody afterwards") {
  EpollLoop loop;
  Pipe pipe;
  for (int i = 0; i < 200; ++i) {
    auto writer = std::make_unique<Writer>(loop, [](int, int) {});
    writer->write(pipe.write.get(), "x");
    writer->when_written([] {});
    writer.reset();
    loop.run_once(0);
  }
}
