// Goal: output waits for its reader without stopping the loop, and is neither lost nor kept for ever.
// Method: a Writer over real pipes that nobody reads, that somebody reads late, and whose reader goes away.
#include "cli/writer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>

#include "core/fd.h"
#include "core/text.h"
#include "tests/support/run_until.h"

using namespace banyan;
using namespace banyan::cli;
using test::run_until;

namespace {

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

TEST_CASE("discarding throws away output that waits, and nothing else") {
  EpollLoop loop;
  Pipe pipe;
  Writer writer(loop, [](int, int) { FAIL("nothing fails here"); });
  const int fd = pipe.write.get();
  auto format = std::make_shared<LineFormat>("web1: ", false);
  bool told = false;
  writer.write(fd, std::string(kMuch, 'x'));
  std::string got;
  REQUIRE(drain(pipe.read.get(), got) > 0);  // so that one is being written
  writer.write(fd, "first\n");
  writer.write_output(fd, nullptr, std::string(kMuch, 'y'), {});
  writer.write_output(fd, format, "half a line", {});
  writer.write(fd, "second\n");
  writer.finish_output(fd, format);
  writer.discard();
  writer.write_output(fd, format, "later\n", {});
  writer.when_written([&] { told = true; });
  const std::string expected = cat(std::string(kMuch, 'x'), "first\nsecond\nweb1: later\n");
  while (got.size() < expected.size()) REQUIRE(drain(pipe.read.get(), got) > 0);
  REQUIRE(run_until(loop, [&] { return told; }));
  CHECK(got == expected);
  CHECK(writer.written() == expected.size());
}

TEST_CASE("output that is thrown away in the middle of being written leaves off after a piece") {
  EpollLoop loop;
  Pipe pipe;
  Writer writer(loop, [](int, int) { FAIL("nothing fails here"); });
  const int fd = pipe.write.get();
  writer.write_output(fd, std::make_shared<LineFormat>(std::string(100, 'n'), false),
                      std::string(kMuch, '\n'), {});
  std::string got;
  REQUIRE(drain(pipe.read.get(), got) > 0);
  writer.discard();
  writer.write(fd, "end\n");
  while (!got.ends_with("end\n")) REQUIRE(drain(pipe.read.get(), got) > 0);
  CHECK(got.size() < 4 * kMuch);  // of a hundred
  CHECK(got.ends_with("n\nend\n"));
  REQUIRE(run_until(loop, [&] { return writer.is_idle(); }));
}

namespace {

// Makes a hundred bytes of each, and counts them.
class CountingFormat final : public StreamFormat {
 public:
  explicit CountingFormat(std::atomic<std::size_t>& made) : made_(made) {}
  std::size_t take(std::string_view bytes, std::string& out) override {
    const std::size_t taken = std::min<std::size_t>(bytes.size(), 600);
    out.assign(taken * 100, '.');
    made_ += out.size();
    return taken;
  }
  void cut() override {}
  std::string finish() override { return ""; }

 private:
  std::atomic<std::size_t>& made_;
};

}  // namespace

TEST_CASE("text that is longer than its bytes is made no sooner than its reader comes") {
  constexpr std::size_t kAheadMax = 512 << 10;  // a batch, a piece and a pipe
  EpollLoop loop;
  Pipe pipe;
  std::atomic<std::size_t> made = 0;
  Writer writer(loop, [](int, int) { FAIL("nothing fails here"); });
  auto format = std::make_shared<CountingFormat>(made);
  for (int i = 0; i < 16; ++i) {
    writer.write_output(pipe.write.get(), format, std::string(kMuch / 16, '\n'), {});
  }
  std::size_t got = 0, ahead = 0;
  while (got < 100 * kMuch) {
    std::string bytes;
    got += drain(pipe.read.get(), bytes);
    ahead = std::max(ahead, made - got);
  }
  CHECK(ahead <= kAheadMax);
  CHECK(made == 100 * kMuch);
  REQUIRE(run_until(loop, [&] { return writer.is_idle(); }));
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

TEST_CASE("a status line is taken away before anything else is written, and comes back below it") {
  EpollLoop loop;
  Pipe pipe;
  Writer writer(loop, [](int, int) { FAIL("nothing fails here"); });
  std::string got;
  auto read_until = [&](std::string_view text) {
    while (got.find(text) == std::string::npos) REQUIRE(drain(pipe.read.get(), got) > 0);
  };
  writer.set_status(pipe.write.get(), "1/2 · 0.1s");
  read_until("0.1s");
  writer.write(pipe.write.get(), "a line\n");
  writer.set_status(pipe.write.get(), "1/2 · 0.2s");
  read_until("0.2s");
  bool told = false;
  writer.set_status(pipe.write.get(), "");
  writer.when_written([&] { told = true; });
  REQUIRE(run_until(loop, [&] { return told; }));
  pipe.write.reset();
  while (drain(pipe.read.get(), got) > 0) {
  }
  const std::string gone = "\r            \r";  // with room for an echoed ^C
  CHECK(got == "1/2 · 0.1s" + gone + "a line\n1/2 · 0.2s" + gone);
}

TEST_CASE("a status line that changes all the time is drawn ten times a second at most") {
  EpollLoop loop;
  Pipe pipe;
  std::string got;
  const Nanos began = loop.now();
  {
    Writer writer(loop, [](int, int) {});
    for (int i = 0; loop.now() - began < kSecond; ++i) {
      writer.set_status(pipe.write.get(), cat("[", i, "]"));
      if (i % 10 == 0) writer.write(pipe.write.get(), "x\n");
      loop.run_once(2 * kMillisecond);
    }
    writer.drop_status();
  }
  const double seconds = double(loop.now() - began) / 1e9;
  pipe.write.reset();
  while (drain(pipe.read.get(), got) > 0) {
  }
  const auto drawn = std::ranges::count(got, '[');
  CHECK(drawn >= 2);
  CHECK(double(drawn) <= 10 * seconds + 1);
  CHECK((got.ends_with("\r") || got.ends_with("\n")));
}

TEST_CASE("last words wait for who reads, and for nobody else") {
  EpollLoop loop;
  Pipe pipe;
  Writer writer(loop, [](int, int) {});
  writer.write(pipe.write.get(), "short\n");
  writer.wait_written(10 * kSecond);
  std::string got;
  drain(pipe.read.get(), got);
  CHECK(got == "short\n");
  writer.write(pipe.write.get(), std::string(kMuch, 'x'));
  const Nanos began = loop.now();
  writer.wait_written(10 * kSecond);
  CHECK(loop.now() - began < 5 * kSecond);
  while (got.size() < kMuch) REQUIRE(drain(pipe.read.get(), got) > 0);
  bool told = false;
  writer.when_written([&] { told = true; });
  REQUIRE(run_until(loop, [&] { return told; }));
}
