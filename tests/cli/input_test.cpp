// Goal: standard input arrives whole, no faster than it is used, and never keeps the program from ending.
// Method: an InputReader over real pipes and files.
#include "cli/input.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "core/fd.h"
#include "tests/support/run_until.h"

using namespace banyan;
using namespace banyan::cli;
using test::run_until;

namespace {

void nothing_fails(int error) {
  FAIL("failed with " << error);
}

}  // namespace

TEST_CASE("a file arrives whole, then its end") {
  FILE* file = ::tmpfile();
  REQUIRE(file != nullptr);
  std::string text;
  for (int i = 0; i < 300'000; ++i) text += char('a' + i % 23);
  REQUIRE(write_all(::fileno(file), text.data(), text.size()));
  ::lseek(::fileno(file), 0, SEEK_SET);
  EpollLoop loop;
  std::string got;
  bool ended = false;
  std::unique_ptr<InputReader> reader;
  reader = std::make_unique<InputReader>(
      loop, ::fileno(file),
      [&](Buffer piece) {
        ended = piece.empty();
        got += as_text(piece);
        if (!ended) reader->go_on();
      },
      nothing_fails);
  REQUIRE(run_until(loop, [&] { return ended; }));
  CHECK(got == text);
  reader.reset();
  ::fclose(file);
}

TEST_CASE("the next piece is read only when the last was used") {
  auto pipe = make_pipe();
  REQUIRE(bool(pipe));
  EpollLoop loop;
  std::string got;
  InputReader reader(
      loop, pipe->first.get(), [&](Buffer piece) { got += as_text(piece); }, nothing_fails);
  REQUIRE(write_all(pipe->second.get(), "first", 5));
  REQUIRE(run_until(loop, [&] { return got == "first"; }));
  REQUIRE(write_all(pipe->second.get(), "second", 6));
  loop.run_once(30 * kMillisecond);
  CHECK(got == "first");
  int waiting = 0;
  REQUIRE(::ioctl(pipe->first.get(), FIONREAD, &waiting) == 0);
  CHECK(waiting == 6);
  reader.go_on();
  REQUIRE(run_until(loop, [&] { return got == "firstsecond"; }));
}

TEST_CASE("a reader that waits for input ends at once, and calls nobody afterwards") {
  auto pipe = make_pipe();
  REQUIRE(bool(pipe));
  EpollLoop loop;
  for (int i = 0; i < 100; ++i) {
    bool called = false;
    auto reader = std::make_unique<InputReader>(
        loop, pipe->first.get(), [&](Buffer) { called = true; }, nothing_fails);
    reader.reset();
    loop.run_once(0);
    CHECK_FALSE(called);
  }
  bool called = false;
  auto reader = std::make_unique<InputReader>(
      loop, pipe->first.get(), [&](Buffer) { called = true; }, nothing_fails);
  REQUIRE(write_all(pipe->second.get(), "x", 1));
  reader.reset();
  loop.run_once(0);
  CHECK_FALSE(called);
}

TEST_CASE("what cannot be read is told with its error, never as an end") {
  EpollLoop loop;
  const Fd folder(::open("/", O_RDONLY | O_CLOEXEC));
  REQUIRE(bool(folder));
  bool ended = false;
  int error = 0;
  InputReader reader(
      loop, folder.get(), [&](Buffer) { ended = true; }, [&](int number) { error = number; });
  REQUIRE(run_until(loop, [&] { return ended || error != 0; }));
  CHECK(error == EISDIR);
  CHECK_FALSE(ended);
}
