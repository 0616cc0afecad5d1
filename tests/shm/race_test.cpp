// Goal: whatever the writer does, a reader sees a state that there was, and no sanitizer sees a race.
// Method: writer and readers as threads over the same bytes, so that ThreadSanitizer can follow; a checker
// knows every state that the writer may have left, from the rows' own contents. The seed decides what the
// writer does.

#include <catch2/catch.hpp>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "shm/rows.h"
#include "tests/shm/check_row.h"
#include "tests/support/seed.h"

using namespace banyan::shm;
using namespace banyan::shm::test;

namespace {

constexpr std::uint64_t kRows = 64;
#if defined(__SANITIZE_THREAD__)
constexpr int kTurns = 20000;
#else
constexpr int kTurns = 100000;
#endif

// What a segment is to both sides, without the kernel.
struct Bytes {
  explicit Bytes(Shape with, std::uint64_t start) : shape(with) {
    header->first = header->last = header->reserved = start;
  }
  RowWriter writer() { return RowWriter({header.get(), page.get(), rows->bytes, shape}); }
  RowReader reader() {
    return RowReader({header.get(), page.get(), rows->bytes, shape, [] { return true; }});
  }

  struct alignas(64) Rows {
    std::byte bytes[kRows * sizeof(CheckRow)];
  };
  Shape shape;
  std::unique_ptr<Header> header = std::make_unique<Header>();
  std::unique_ptr<ReaderPage> page = std::make_unique<ReaderPage>();
  std::unique_ptr<Rows> rows = std::make_unique<Rows>();
};

Shape shape_of(Kind kind, Rewrites rewrites) {
  return {kind, sizeof(CheckRow), kRows, rewrites, true, false};
}

const std::byte* bytes_of(const std::vector<CheckRow>& rows) {
  return reinterpret_cast<const std::byte*>(rows.data());
}

// What the readers found; threads must not use Catch's macros.
struct Findings {
  std::atomic<std::uint64_t> looks{0}, wrong_rows{0}, wrong_bounds{0}, failed{0};
};

// Rows of one copy must be of the version that the first row's neighbours say: in an array that is rewritten
// whole, every row behind a rewritten one is as new or newer.
void read_for_ever(const RowReader& reader, const std::atomic<bool>& stop, Findings& findings) {
  std::vector<CheckRow> rows(kRows);
  auto* out = reinterpret_cast<std::byte*>(rows.data());
  Bounds before;
  while (!stop) {
    Result<Bounds> bounds = reader.bounds();
    if (!bounds) {
      ++findings.failed;
      continue;
    }
    // Nothing takes rows back unless it says so.
    if (bounds->rewritten == before.rewritten && bounds->last < before.last) ++findings.wrong_bounds;
    before = *bounds;
    Result<Bounds> copied = reader.copy_last(kRows, out);
    if (!copied) {
      if (copied.error().kind != ErrorKind::kLost) ++findings.failed;
      continue;
    }
    for (std::uint64_t i = 0; i < copied->size(); ++i)
      if (!is_legal(rows[i], copied->first + i)) ++findings.wrong_rows;
    if (Result<std::span<const std::byte>> settled = reader.settled(*bounds)) {
      const auto* row = reinterpret_cast<const CheckRow*>(settled->data());
      for (std::uint64_t i = 0; i < settled->size() / sizeof(CheckRow); ++i)
        if (!is_legal(row[i], bounds->first + i)) ++findings.wrong_rows;
    }
    ++findings.looks;
  }
}

template <class Write>
void check_races(Shape shape, std::uint64_t start, Write write) {
  Bytes bytes(shape, start);
  RowWriter writer = bytes.writer();
  Findings findings;
  std::atomic<bool> stop = false;
  {
    std::vector<std::jthread> readers;
    for (int i = 0; i < 2; ++i)
      readers.emplace_back([&, reader = bytes.reader()] { read_for_ever(reader, stop, findings); });
    std::mt19937_64 random(banyan::test::seed());
    const Deadline deadline = after(std::chrono::seconds(30));
    for (int turn = 0; turn < kTurns || (findings.looks < 100 && Clock::now() < deadline); ++turn)
      write(writer, random, std::uint64_t(turn));
    stop = true;
  }
  CHECK(findings.looks > 0);
  CHECK(findings.wrong_rows == 0);
  CHECK(findings.wrong_bounds == 0);
  CHECK(findings.failed == 0);
}

std::vector<CheckRow> some_rows(std::uint64_t from, std::uint64_t count, std::uint64_t version) {
  std::vector<CheckRow> rows;
  for (std::uint64_t row = from; row < from + count; ++row) rows.push_back(check_row(row, version));
  return rows;
}

}  // namespace

TEST_CASE("readers of a growing array see rows that were written, where they are, at both ends") {
  for (int again = 0; again < 200; ++again) {
    Bytes bytes(shape_of(Kind::kArray, Rewrites::kNever), kRows / 2);
    RowWriter writer = bytes.writer();
    Findings findings;
    std::atomic<bool> stop = false;
    std::jthread reading([&, reader = bytes.reader()] { read_for_ever(reader, stop, findings); });
    for (std::uint64_t i = 0; i < kRows / 2; ++i) {
      const std::vector<CheckRow> before = some_rows(kRows / 2 - 1 - i, 1, i),
                                  after = some_rows(kRows / 2 + i, 1, i);
      bool wrote = writer.append(bytes_of(after), 1) ? true : false;
      wrote = writer.prepend(bytes_of(before), 1) && wrote;
      if (!wrote) ++findings.failed;
    }
    while (findings.looks == 0 && findings.failed == 0) std::this_thread::yield();
    stop = true;
    reading.join();
    REQUIRE(findings.wrong_rows == 0);
    REQUIRE(findings.wrong_bounds == 0);
    REQUIRE(findings.failed == 0);
  }
}

TEST_CASE("readers of an array whose newest row changes see one version of it, whole") {
  check_races(shape_of(Kind::kArray, Rewrites::kNewest), 0,
              [](RowWriter& writer, std::mt19937_64& random, std::uint64_t turn) {
                const std::uint64_t last = writer.bounds().last;
                const bool grows = last == 0 || (last < kRows && random() % 1000 == 0);
                const std::vector<CheckRow> row = some_rows(grows ? last : last - 1, 1, turn);
                if (grows)
                  (void)writer.append(bytes_of(row), 1);
                else
                  (void)writer.update_newest(bytes_of(row));
              });
}

TEST_CASE("readers of an array that is written anew see whole rows under the right numbers") {
  check_races(shape_of(Kind::kArray, Rewrites::kAny), kRows / 2,
              [](RowWriter& writer, std::mt19937_64& random, std::uint64_t turn) {
                const Bounds now = writer.bounds();
                const std::uint64_t count = random() % 8;
                switch (random() % 5) {
                  case 0:
                    (void)writer.append(bytes_of(some_rows(now.last, count, turn)), count);
                    break;
                  case 1:
                    if (now.first >= count)
                      (void)writer.prepend(bytes_of(some_rows(now.first - count, count, turn)), count);
                    break;
                  case 2: {
                    const std::uint64_t at = now.first + random() % (now.size() + 1);
                    (void)writer.append(bytes_of(some_rows(at, count, turn)), count, at);
                    break;
                  }
                  case 3:
                    if (now.size() > 0)
                      (void)writer.update_newest(bytes_of(some_rows(now.last - 1, 1, turn)));
                    break;
                  default:
                    (void)writer.set_bounds(now.first + random() % (now.size() + 1), now.last);
                }
                // Readers have to get a look in between.
                if (turn % 64 == 0) std::this_thread::yield();
              });
}

TEST_CASE("readers of a ring see whole rows under the right numbers, while it goes around beneath them") {
  check_races(shape_of(Kind::kRing, Rewrites::kNever), 0,
              [](RowWriter& writer, std::mt19937_64& random, std::uint64_t turn) {
                const std::uint64_t count = random() % 4;
                (void)writer.append(bytes_of(some_rows(writer.bounds().last, count, turn)), count);
                if (turn % 8 == 0) std::this_thread::yield();
              });
}

TEST_CASE("readers of a ring whose newest row changes see one version of it, whole") {
  check_races(shape_of(Kind::kRing, Rewrites::kNewest), 0,
              [](RowWriter& writer, std::mt19937_64& random, std::uint64_t turn) {
                const std::uint64_t last = writer.bounds().last;
                if (last == 0 || random() % 4 == 0)
                  (void)writer.append(bytes_of(some_rows(last, 1, turn)), 1);
                else
                  (void)writer.update_newest(bytes_of(some_rows(last - 1, 1, turn)));
                if (turn % 8 == 0) std::this_thread::yield();
              });
}

TEST_CASE("a reader that sleeps is woken for each row it waits for") {
  Shape shape = shape_of(Kind::kRing, Rewrites::kNever);
  shape.writer_fences = true;  // nobody else makes this one pass barriers
  Bytes bytes(shape, 0);
  RowWriter writer = bytes.writer();
  const RowReader reader = bytes.reader();
  std::atomic<std::uint64_t> seen = 0, failed = 0;
  constexpr std::uint64_t kPushes = 2000;
  std::jthread waiting([&] {
    for (std::uint64_t next = 0; next < kPushes; ++next) {
      Result<Bounds> found = reader.wait(next, after(std::chrono::seconds(60)));
      if (!found || found->last <= next) ++failed;
      ++seen;
      seen.notify_all();
    }
  });
  const auto began = Clock::now();
  for (std::uint64_t next = 0; next < kPushes; ++next) {
    const std::vector<CheckRow> row = some_rows(next, 1, 0);
    REQUIRE(writer.append(bytes_of(row), 1));
    for (std::uint64_t now = seen; now <= next; now = seen) seen.wait(now);
  }
  waiting.join();
  CHECK(failed == 0);
  // Each lost wake-up would cost kLookAgain.
  CHECK(Clock::now() - began < std::chrono::seconds(20));
}
