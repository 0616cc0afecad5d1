// Goal: what is shared lives as long as its owner, whatever happens to that, and leaves nothing: no name, no
// memory, no descriptor. Method: owners that end, leave without a farewell, and are killed in the middle of
// writing, a thousand times.

#include <dirent.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <catch2/catch.hpp>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>

#include "shm/array.h"
#include "shm/process.h"
#include "tests/shm/check_row.h"
#include "tests/shm/peers.h"
#include "tests/support/not_tested.h"
#include "tests/support/seed.h"

using namespace banyan::shm;
using namespace banyan::shm::test;

namespace {

std::size_t count_in(const std::string& folder) {
  std::error_code error;
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    count += entry.exists() ? 1 : 0;
  return count;
}

std::size_t descriptors() {
  return count_in("/proc/self/fd");
}

// Every row that can be read, and whether each is as its writer wrote it. A writer that died in the middle of
// rows that change is the one other answer that is right.
bool is_legal_remainder(const Array<CheckRow>& array) {
  Result<Bounds> bounds = array.bounds();
  if (!bounds) return bounds.error().kind == ErrorKind::kOwnerDied;
  std::vector<CheckRow> rows(256);
  Result<Bounds> copied = array.reader().copy_last(256, reinterpret_cast<std::byte*>(rows.data()));
  if (!copied) return copied.error().kind == ErrorKind::kOwnerDied;
  for (std::uint64_t i = 0; i < copied->size(); ++i)
    if (!is_legal(rows[i], copied->first + i)) return false;
  return copied->last == bounds->last;
}

bool is_legal_now(const Array<CheckRow>& array) {
  std::vector<CheckRow> rows(256);
  Result<Bounds> copied = array.reader().copy_last(256, reinterpret_cast<std::byte*>(rows.data()));
  // A ring may turn faster than anybody reads.
  if (!copied) return copied.error().kind == ErrorKind::kLost;
  for (std::uint64_t i = 0; i < copied->size(); ++i)
    if (!is_legal(rows[i], copied->first + i)) return false;
  return true;
}

}  // namespace

TEST_CASE("a writer killed at any point leaves rows that were written, and its name to the next") {
  Store store;
  std::mt19937_64 random(banyan::test::seed());
  const char* modes[] = {"never", "newest", "any", "ring"};
  int died_in_the_middle = 0;
  for (int kill = 0; kill < 1000; ++kill) {
    // The name of one that was killed before: it is taken over without a word.
    Peer writer({"write", "killed", modes[kill % 4]});
    const std::string text = writer.line();
    Result<Token> token = Token::from_text(text);
    CAPTURE(kill, text);
    REQUIRE(token);
    {
      Result<Array<CheckRow>> array = Array<CheckRow>::attach(store, *token);
      REQUIRE(array);
      for (auto looks = random() % 8; looks > 0; --looks) REQUIRE(is_legal_now(*array));
      const auto until = Clock::now() + std::chrono::microseconds(random() % 1000);
      while (Clock::now() < until) {
      }
      writer.kill();
      REQUIRE(writer.wait() == -SIGKILL);
      REQUIRE(is_legal_remainder(*array));
      if (!array->bounds()) ++died_in_the_middle;
      if (kill % 50 < 4) {
        Result<Bounds> waited = array->wait(std::uint64_t(1) << 60, after(kAnswerIn));
        REQUIRE_FALSE(waited);
        REQUIRE(waited.error().kind == ErrorKind::kOwnerDied);
      }
      REQUIRE(Array<CheckRow>::attach(store, "killed").error().kind == ErrorKind::kGone);
    }
  }
  INFO("died while they changed rows: " << died_in_the_middle);
  CHECK(*store.sweep() == 1);
  CHECK(*store.sweep() == 0);
  CHECK_FALSE(std::filesystem::exists(default_folder()));
}

TEST_CASE("a thousand attaches leak nothing, one after the other and all at once") {
  Store owner;
  Result<Array<CheckRow>> array = Array<CheckRow>::create(owner, "rows", {16});
  REQUIRE(array);
  REQUIRE(array->append(check_row(0)));
  const std::size_t before = descriptors();
  {
    Store store;
    for (int i = 0; i < 1000; ++i)
      REQUIRE(Array<CheckRow>::attach(store, array->token())->bounds()->last == 1);
    CHECK(descriptors() == before);
    std::vector<Array<CheckRow>> all;
    for (int i = 0; i < 1000; ++i) all.push_back(*Array<CheckRow>::attach(store, "rows"));
    // They are the same.
    CHECK(descriptors() == before + 2);
    Store other;
    CHECK(Array<CheckRow>::attach(other, "rows"));
  }
  {
    std::vector<std::unique_ptr<Store>> stores;
    std::vector<Array<CheckRow>> all;
    for (int i = 0; i < 200; ++i) {
      stores.push_back(std::make_unique<Store>());
      all.push_back(*Array<CheckRow>::attach(*stores.back(), "rows"));
    }
    CHECK(descriptors() == before + 400);
  }
  CHECK(descriptors() == before);
}

TEST_CASE("an owner takes its names with it, and one that leaves without a farewell is swept") {
  Store store;
  Peer tidy({"own", "tidy", "never", "16"}), hasty({"own", "hasty", "never", "16"}),
      killed({"own", "killed", "never", "16"});
  for (Peer* peer : {&tidy, &hasty, &killed}) REQUIRE(Token::from_text(peer->line()));
  CHECK(count_in(default_folder()) == 3);

  tidy.close_input();
  CHECK(tidy.wait() == 0);
  CHECK(count_in(default_folder()) == 2);
  hasty.say("leave");
  CHECK(hasty.wait() == 0);
  killed.say("crash");
  CHECK(killed.wait() == -SIGKILL);
  CHECK(Array<CheckRow>::attach(store, "hasty").error().kind == ErrorKind::kGone);
  // Whoever creates something sweeps.
  CHECK(Array<CheckRow>::create(store, "next", {16}));
  CHECK(count_in(default_folder()) == 1);
}

TEST_CASE("an owner that lives keeps its name, also from others who sweep") {
  Store store;
  Peer owner({"own", "rows", "never", "16"});
  REQUIRE(Token::from_text(owner.line()));
  CHECK(*store.sweep() == 0);
  CHECK(Array<CheckRow>::create(store, "rows", {16}).error().kind == ErrorKind::kExists);
  CHECK(Array<CheckRow>::attach(store, "rows"));
  owner.close_input();
  CHECK(owner.wait() == 0);
}

TEST_CASE("a process that has another's number is not taken for it") {
  Store store;
  Result<Array<CheckRow>> array = Array<CheckRow>::create(store, "rows", {16});
  REQUIRE(array);
  Token earlier = array->token();
  --earlier.identity.owner.start;
  CHECK(Array<CheckRow>::attach(store, earlier).error().kind == ErrorKind::kGone);
  CHECK_FALSE(may_live(earlier.identity.owner));
  CHECK(may_live(this_process()));
}

TEST_CASE(
    "what is created outlives the scope, and ends with its store; what was attached can still be read") {
  Store reader;
  std::optional<Array<CheckRow>> attached;
  {
    Store store;
    std::optional<Array<CheckRow>> kept;
    {
      Result<Array<CheckRow>> array = Array<CheckRow>::create(store, "rows", {16});
      REQUIRE(array);
      REQUIRE(array->append(check_row(0)));
      kept = *array;
    }
    Result<Array<CheckRow>> found = Array<CheckRow>::attach(reader, "rows");
    REQUIRE(found);
    attached = *found;
    CHECK(store.end("rows"));
    CHECK(kept->append(check_row(1)).error().kind == ErrorKind::kEnded);
  }
  CHECK(attached->wait(1, after(kAnswerIn)).error().kind == ErrorKind::kEnded);
  CHECK(is_legal(attached->last(1)->front(), 0));
}

TEST_CASE("the child of a fork owns nothing of its parent's") {
  Store store;
  Result<Array<CheckRow>> array = Array<CheckRow>::create(store, "rows", {16});
  REQUIRE(array);
  const pid_t child = ::fork();
  if (child == 0) {
    store.end("rows");  // does nothing
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  Store other;
  REQUIRE(Array<CheckRow>::attach(other, "rows"));
  CHECK_FALSE(Array<CheckRow>::attach(other, "rows")->reader().has_ended());
}

TEST_CASE("the child of a fork that pushes into its parent's array dies of it, and the array is as it was") {
  Store store;
  Result<Array<CheckRow>> array = Array<CheckRow>::create(store, "rows", {16});
  REQUIRE(array);
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGSEGV, SIG_DFL);
    (void)array->append(check_row(0));
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(array->bounds()->last == 0);
  CHECK(*array->append(check_row(0)) == 1);
}

TEST_CASE("memory that the machine does not have is refused before any is taken") {
  Store store;
  const std::size_t before = descriptors();
  Result<Array<CheckRow>> huge = Array<CheckRow>::create(store, "huge", {std::uint64_t(1) << 40});
  REQUIRE_FALSE(huge);
  CHECK(huge.error().kind == ErrorKind::kNoSpace);
  CHECK(descriptors() == before);
  CHECK(Array<CheckRow>::create(store, "none", {0}).error().kind == ErrorKind::kMismatch);
  CHECK(Array<CheckRow>::create(store, "beyond", {std::uint64_t(1) << 60}).error().kind ==
        ErrorKind::kMismatch);
  CHECK(Array<CheckRow>::create(store, "late", {10, 11}).error().kind == ErrorKind::kOutOfRange);
}

TEST_CASE("a full folder for names is an error at creation") {
  const std::string folder = std::string(std::getenv("TMPDIR")) + "/full";
  std::filesystem::create_directory(folder);
  if (::mount("none", folder.c_str(), "tmpfs", 0, "size=4096,nr_inodes=2,mode=0700") != 0) {
    std::filesystem::remove(folder);
    banyan::test::not_tested("mounts", "this process may not mount a file system");
    return;
  }
  {
    Store store(folder);
    CHECK(Array<CheckRow>::create(store, "first", {16}));
    Result<Array<CheckRow>> second = Array<CheckRow>::create(store, "second", {16});
    REQUIRE_FALSE(second);
    CHECK(second.error().kind == ErrorKind::kNoSpace);
    CHECK(Array<CheckRow>::attach(store, "first"));
  }
  CHECK(::umount(folder.c_str()) == 0);
  std::filesystem::remove(folder);
}
