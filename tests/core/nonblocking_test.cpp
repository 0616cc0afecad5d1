// Goal: our descriptors do not block, and nobody else's are changed by that.
// Method: every kind of descriptor a context may inherit; its flags and its state are compared before and
// after.

#include "core/nonblocking.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>

namespace banyan {
namespace {

bool is_nonblocking(int fd) {
  return (::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
}
bool is_close_on_exec(int fd) {
  return (::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

TEST_CASE("a pipe is opened anew, and the inherited end still blocks") {
  auto pipe = make_pipe();
  REQUIRE(bool(pipe));
  auto in = private_nonblocking(pipe->first.get(), false);
  auto out = private_nonblocking(pipe->second.get(), true);
  REQUIRE(bool(in));
  REQUIRE(bool(out));
  CHECK(is_nonblocking(in->get()));
  CHECK(is_nonblocking(out->get()));
  CHECK_FALSE(is_nonblocking(pipe->first.get()));
  CHECK_FALSE(is_nonblocking(pipe->second.get()));
  CHECK(is_close_on_exec(in->get()));
  CHECK(is_close_on_exec(out->get()));

  NonblockingIo io;
  std::uint8_t byte;
  CHECK(io.read(in->get(), &byte, 1).status == IoResult::Status::kWouldBlock);
  REQUIRE(write_all(out->get(), "x", 1));
  CHECK(io.read(in->get(), &byte, 1).bytes == 1);
  // The end shows only when the inherited copy is gone too.
  out->reset();
  CHECK(io.read(in->get(), &byte, 1).status == IoResult::Status::kWouldBlock);
  pipe->second.reset();
  CHECK(io.read(in->get(), &byte, 1).status == IoResult::Status::kEnd);
}

TEST_CASE("a pipe whose reader is gone still gives a descriptor, and the write says what happened") {
  auto pipe = make_pipe();
  REQUIRE(bool(pipe));
  pipe->first.reset();
  auto out = private_nonblocking(pipe->second.get(), true);
  REQUIRE(bool(out));
  NonblockingIo io;
  char byte = 'x';
  const iovec part = {&byte, 1};
  const IoResult result = io.write(out->get(), &part, 1);
  CHECK(result.status == IoResult::Status::kError);
  CHECK(result.error == EPIPE);
}

TEST_CASE("a socket is copied and its description left alone") {
  auto pair = make_socketpair();
  REQUIRE(bool(pair));
  auto own = private_nonblocking(pair->first.get(), false);
  REQUIRE(bool(own));
  CHECK(own->get() != pair->first.get());
  CHECK_FALSE(is_nonblocking(pair->first.get()));
  CHECK(is_close_on_exec(own->get()));
  NonblockingIo io;
  std::uint8_t byte;
  CHECK(io.read(own->get(), &byte, 1).status == IoResult::Status::kWouldBlock);
}

TEST_CASE("a terminal is opened anew, its master is not") {
  Fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  REQUIRE(bool(master));
  REQUIRE(::grantpt(master.get()) == 0);
  REQUIRE(::unlockpt(master.get()) == 0);
  char name[64];
  REQUIRE(::ptsname_r(master.get(), name, sizeof name) == 0);
  Fd terminal(::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
  REQUIRE(bool(terminal));

  auto own = private_nonblocking(terminal.get(), false);
  REQUIRE(bool(own));
  CHECK(is_nonblocking(own->get()));
  CHECK_FALSE(is_nonblocking(terminal.get()));

  auto own_master = private_nonblocking(master.get(), true);
  REQUIRE(bool(own_master));
  CHECK(is_nonblocking(own_master->get()));
  REQUIRE(write_all(own_master->get(), "hi\n", 3));
  char text[8];
  CHECK(::read(terminal.get(), text, sizeof text) == 3);  // the same pty, not a new one
}

TEST_CASE("a file keeps its offset and its flags") {
  char path[] = "/tmp/banyan-nonblocking-XXXXXX";
  Fd file(::mkostemp(path, O_APPEND | O_CLOEXEC));
  REQUIRE(bool(file));
  ::unlink(path);
  REQUIRE(write_all(file.get(), "abcdef", 6));
  REQUIRE(::lseek(file.get(), 2, SEEK_SET) == 2);
  auto own = private_nonblocking(file.get(), false);
  REQUIRE(bool(own));
  char byte = 0;
  CHECK(::read(own->get(), &byte, 1) == 1);
  CHECK(byte == 'c');
  CHECK_FALSE(is_nonblocking(file.get()));
  CHECK((::fcntl(own->get(), F_GETFL) & O_APPEND) != 0);
}

TEST_CASE("the private descriptor is above the standard three, also when one of them is free") {
  auto pipe = make_pipe();
  REQUIRE(bool(pipe));
  Fd saved(::fcntl(0, F_DUPFD_CLOEXEC, 10));
  ::close(0);
  auto own = private_nonblocking(pipe->first.get(), false);
  if (saved) ::dup2(saved.get(), 0);
  REQUIRE(bool(own));
  CHECK(own->get() > 2);
  CHECK(is_nonblocking(own->get()));
  CHECK_FALSE(is_nonblocking(pipe->first.get()));
}

TEST_CASE("a descriptor that is not open is an error that names it") {
  auto own = private_nonblocking(9'999, false);
  REQUIRE_FALSE(bool(own));
  CHECK(own.error().system_error == EBADF);
  CHECK(own.error().text.find("9999") != std::string::npos);
}

}  // namespace
}  // namespace banyan
