// Goal: neither a forged token nor a hostile owner makes a reader map what it should not, read beyond it,
// hang or die. Method: tokens and memory made wrong in each way there is; an owner that truncates and
// scribbles under live readers.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <catch2/catch.hpp>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "shm/array.h"
#include "shm/byte_ring.h"
#include "shm/list.h"
#include "shm/passing.h"
#include "shm/records.h"
#include "tests/shm/check_row.h"
#include "tests/shm/peers.h"

using namespace banyan::shm;
using namespace banyan::shm::test;

namespace {

std::size_t shared_mappings() {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) count += line.find("banyan-shm") != line.npos ? 1 : 0;
  return count;
}

// As an owner makes it, but for what is to be wrong.
struct Forgery {
  int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | F_SEAL_FUTURE_WRITE;
  int page_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  std::uint64_t bytes_more = 0;
  bool holes = false;
  bool on_disk = false;
};

ErrorKind attach_forged(const Forgery& forgery, const Array<CheckRow>& model) {
  const Identity& identity = model.token().identity;
  const std::uint64_t bytes = identity.shape.segment_bytes() + forgery.bytes_more;
  const std::string file = std::string(std::getenv("TMPDIR")) + "/forged";
  Fd rows(forgery.on_disk ? ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)
                          : ::memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  Fd page(::memfd_create("forged-page", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  bool made = forgery.holes ? ::ftruncate(rows.get(), off_t(bytes)) == 0
                            : ::posix_fallocate(rows.get(), 0, off_t(bytes)) == 0;
  made = ::posix_fallocate(page.get(), 0, kPageBytes) == 0 && made;
  made = ::pwrite(rows.get(), &model.segment()->header(), kPageBytes, 0) == ssize_t(kPageBytes) && made;
  made = ::pwrite(page.get(), &identity.generation, 8, 0) == 8 && made;
  if (!forgery.on_disk) made = ::fcntl(rows.get(), F_ADD_SEALS, forgery.seals) == 0 && made;
  made = ::fcntl(page.get(), F_ADD_SEALS, forgery.page_seals) == 0 && made;
  REQUIRE(made);
  std::filesystem::remove(file);

  Token token = model.token();
  token.rows_fd = std::uint32_t(rows.get());
  token.page_fd = std::uint32_t(page.get());
  Store store;
  Result<Array<CheckRow>> array = Array<CheckRow>::attach(store, token);
  if (array) return ErrorKind::kSystem;
  return array.error().kind;
}

Array<CheckRow> create(Store& store) {
  Result<Array<CheckRow>> array = Array<CheckRow>::create(store, "rows", {16});
  if (!array) FAIL(array.error().text);
  return std::move(*array);
}

}  // namespace

TEST_CASE("a forged or guessed token is refused before anything is mapped") {
  Store owner;
  const Array<CheckRow> array = create(owner);
  const Token real = array.token();
  const std::size_t mapped = shared_mappings();
  const auto attach = [&](const std::function<void(Token&)>& change) {
    Token token = real;
    change(token);
    Store store;
    Result<Array<CheckRow>> attached = Array<CheckRow>::attach(store, token);
    CHECK(shared_mappings() == mapped);
    return attached ? ErrorKind::kSystem : attached.error().kind;
  };
  CHECK(attach([](Token& token) { ++token.identity.generation; }) == ErrorKind::kMismatch);
  CHECK(attach([](Token& token) { token.identity.name = "other"; }) == ErrorKind::kMismatch);
  CHECK(attach([](Token& token) { token.identity.shape.capacity = 15; }) == ErrorKind::kMismatch);
  CHECK(attach([](Token& token) { token.identity.shape.capacity = 1000000; }) == ErrorKind::kMismatch);
  CHECK(attach([](Token& token) { token.identity.shape.rewrites = Rewrites::kAny; }) == ErrorKind::kMismatch);
  CHECK(attach([](Token& token) { token.identity.shape.row_bytes = 8; }) == ErrorKind::kMismatch);
  CHECK(attach([](Token& token) { token.identity.descriptor = descriptor_of<Ohlcv>(); }) ==
        ErrorKind::kMismatch);
  CHECK(attach([](Token& token) { token.identity.owner.pid = 1; }) == ErrorKind::kGone);
  CHECK(attach([](Token& token) { ++token.identity.owner.start; }) == ErrorKind::kGone);
  CHECK(attach([](Token& token) { ++token.identity.owner.space; }) == ErrorKind::kGone);
  CHECK(attach([](Token& token) { std::swap(token.rows_fd, token.page_fd); }) == ErrorKind::kUnsafe);
  CHECK(attach([](Token& token) { token.rows_fd = token.page_fd; }) == ErrorKind::kUnsafe);
  CHECK(attach([](Token& token) { token.page_fd = token.rows_fd; }) != ErrorKind::kSystem);
  CHECK(attach([](Token& token) { token.rows_fd = 100000; }) == ErrorKind::kGone);
  // Other kinds of the same name.
  Store store;
  CHECK(ByteRingReader::attach(store, real).error().kind == ErrorKind::kMismatch);
  CHECK(List::attach(store, real).error().kind == ErrorKind::kMismatch);
  CHECK(Array<Ohlcv>::attach(store, real).error().kind == ErrorKind::kMismatch);
}

TEST_CASE("a token that leads to something that is no memory opens nothing") {
  Store owner, store;
  const Array<CheckRow> array = create(owner);
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const Fd first(ends[0]), second(ends[1]);
  const Fd device(::open("/dev/zero", O_RDONLY | O_CLOEXEC)), folder(::open("/", O_RDONLY | O_CLOEXEC));
  for (const Fd* wrong : {&first, &second, &device, &folder}) {
    Token token = array.token();
    token.rows_fd = std::uint32_t(wrong->get());
    CHECK(Array<CheckRow>::attach(store, token).error().kind == ErrorKind::kUnsafe);
    token = array.token();
    token.page_fd = std::uint32_t(wrong->get());
    CHECK(Array<CheckRow>::attach(store, token).error().kind == ErrorKind::kUnsafe);
  }
}

TEST_CASE("a name that leads elsewhere is refused by whoever gets it") {
  Store store;
  for (const char* name :
       {"../rows", "a/b", "/rows", "..", ".", "", ".rows", "-rows", "ro ws", "rows\n", "r\xc3\xb6ws"}) {
    CAPTURE(name);
    CHECK(Array<CheckRow>::create(store, name, {16}).error().kind == ErrorKind::kBadName);
    CHECK(Array<CheckRow>::attach(store, name).error().kind == ErrorKind::kBadName);
  }
  CHECK(Array<CheckRow>::create(store, std::string(49, 'x'), {16}).error().kind == ErrorKind::kBadName);
  CHECK_FALSE(std::filesystem::exists(default_folder()));
}

TEST_CASE("memory that could be taken away beneath a reader is not mapped") {
  Store owner;
  const Array<CheckRow> model = create(owner);
  // As it should be, it is attached: what follows fails for what is changed.
  CHECK(attach_forged({}, model) == ErrorKind::kSystem);
  CHECK(attach_forged({.seals = 0}, model) == ErrorKind::kUnsafe);
  CHECK(attach_forged({.seals = F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL}, model) ==
        ErrorKind::kUnsafe);
  CHECK(attach_forged({.seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL}, model) == ErrorKind::kUnsafe);
  CHECK(attach_forged({.page_seals = 0}, model) == ErrorKind::kUnsafe);
  CHECK(attach_forged({.bytes_more = 4096}, model) == ErrorKind::kMismatch);
  CHECK(attach_forged({.holes = true}, model) == ErrorKind::kUnsafe);
  CHECK(attach_forged({.on_disk = true}, model) == ErrorKind::kUnsafe);
}

TEST_CASE("an owner that truncates under its readers is refused by the kernel, and they read on") {
  Store store;
  Peer owner({"harm", "rows", "never"});
  Result<Array<CheckRow>> array = Array<CheckRow>::attach(store, *Token::from_text(owner.line()));
  REQUIRE(array);
  Result<Snapshot<CheckRow>> snapshot = array->snapshot();
  REQUIRE(snapshot);
  owner.say("truncate");
  CHECK(owner.line() == "refused");
  CHECK(snapshot->rows.size() == 40);
  for (std::uint64_t i = 0; i < 40; ++i) CHECK(is_legal(snapshot->rows[i], i));
  owner.close_input();
  CHECK(owner.wait() == 0);
  // Also now that it is gone.
  CHECK(is_legal(snapshot->rows[39], 39));
}

TEST_CASE("an owner that scribbles over its header gives readers an error, whatever they ask") {
  for (const char* mode : {"never", "newest", "any", "ring"}) {
    for (const char* what :
         {"last", "first", "last back", "rebase", "reserved", "update", "constants", "noise"}) {
      CAPTURE(mode, what);
      Store store;
      Peer owner({"harm", "rows", mode});
      Result<Array<CheckRow>> array = Array<CheckRow>::attach(store, *Token::from_text(owner.line()));
      REQUIRE(array);
      owner.say(what);
      REQUIRE(owner.line() == "done");
      // While it lives a reader gives it a second to come out of what it is doing; not in each of these,
      // which would be a minute.
      const std::string_view written = what, as = mode;
      if (as == "never" && written == "rebase") CHECK(array->bounds().error().kind == ErrorKind::kBusy);
      if (as == "newest" && written == "update") CHECK(array->last(1).error().kind == ErrorKind::kBusy);
      if (written == "last" && as != "ring") CHECK(array->bounds().error().kind == ErrorKind::kCorrupt);
      owner.kill();
      owner.wait();
      // Neither a signal, nor for ever, nor more rows than there can be; what they are told may differ.
      if (Result<Bounds> bounds = array->bounds()) CHECK(bounds->size() <= 64);
      if (Result<std::vector<CheckRow>> rows = array->last(64)) CHECK(rows->size() <= 64);
      if (written == "rebase") CHECK(array->bounds().error().kind == ErrorKind::kOwnerDied);
      (void)array->copy(30, 40);
      (void)array->copy(~std::uint64_t(0) - 3, ~std::uint64_t(0));
      (void)array->snapshot();
      (void)array->wait(1u << 30, after(milliseconds(1)));
      CHECK(store.sweep());
    }
  }
}

TEST_CASE("a reader that scribbles over the readers' page costs the writer nothing but needless wake-ups") {
  Store store;
  Array<CheckRow> array = create(store);
  std::memset(static_cast<void*>(&array.segment()->page()), 0xff, kPageBytes);
  for (std::uint64_t row = 0; row < 16; ++row) REQUIRE(array.append(check_row(row)));
  CHECK(array.last(16)->size() == 16);
}

TEST_CASE("a child reads what it was passed over a socket") {
  Store store;
  Array<CheckRow> array = create(store);
  for (std::uint64_t row = 0; row < 10; ++row) REQUIRE(array.append(check_row(row)));
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  const Fd ours(ends[0]), theirs(ends[1]);
  Peer child({"receive"}, theirs.get());
  REQUIRE(pass(ours.get(), array.token(), *array.segment()));
  CHECK(child.line() == "10 of 10");
  CHECK(child.wait() == 0);
}

TEST_CASE("what was passed reads only, and bytes that are no segment are refused") {
  Store store;
  const Array<CheckRow> array = create(store);
  Result<Descriptors> shared = array.share();
  REQUIRE(shared);
  CHECK((::fcntl(shared->rows.get(), F_GETFL) & O_ACCMODE) == O_RDONLY);

  const std::vector<std::uint8_t> token = array.token().to_message();
  for (const std::string& bytes :
       {std::string("\xff\xff\xff\xff", 4), std::string("\0\0\0\0", 4), std::string("\0\0\0\4abcd", 8),
        std::string("\0\0\0\4ab", 6),
        std::string({0, 0, 0, char(token.size())}) + std::string(token.begin(), token.end())}) {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    const Fd ours(ends[0]);
    {
      const Fd theirs(ends[1]);
      REQUIRE(::write(theirs.get(), bytes.data(), bytes.size()) == ssize_t(bytes.size()));
    }
    CHECK_FALSE(receive(ours.get(), after(seconds(5))));
  }
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  const Fd ours(ends[0]), theirs(ends[1]);
  CHECK(receive(ours.get(), after(milliseconds(10))).error().kind == ErrorKind::kTimeout);
}

TEST_CASE("a folder for names that others could write to is not used") {
  const std::string folder = std::string(std::getenv("TMPDIR")) + "/open";
  std::filesystem::create_directory(folder);
  ::chmod(folder.c_str(), 0777);
  Store store(folder);
  CHECK(Array<CheckRow>::create(store, "rows", {16}).error().kind == ErrorKind::kUnsafe);
  std::filesystem::remove(folder);
  std::filesystem::create_directory_symlink("/tmp", folder);
  CHECK(Array<CheckRow>::create(store, "rows", {16}).error().kind == ErrorKind::kUnsafe);
  std::filesystem::remove(folder);
}

TEST_CASE("what stands in the folder under a name but is none of ours is swept, and never believed") {
  Store store;
  const Array<CheckRow> array = create(store);
  const std::string folder = default_folder();
  std::ofstream(folder + "/junk") << "banyan-shm:1:junk:../../etc";
  std::ofstream(folder + "/copied") << array.token().to_text();
  CHECK(Array<CheckRow>::attach(store, "junk").error().kind == ErrorKind::kBadToken);
  CHECK(Array<CheckRow>::attach(store, "copied").error().kind == ErrorKind::kBadToken);
  CHECK(*store.sweep() == 2);
  CHECK(Array<CheckRow>::attach(store, "rows"));
}
