// shm_peer JOB ARGUMENT... -- the other process in the tests of shared memory (tests/shm/peers.h).
//
// Answers in lines; what went wrong is the name of the error's kind.

#include <fcntl.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "shm/array.h"
#include "shm/byte_ring.h"
#include "shm/header.h"
#include "shm/passing.h"
#include "tests/shm/check_row.h"

namespace {

using namespace banyan::shm;        // NOLINT(google-build-using-namespace)
using namespace banyan::shm::test;  // NOLINT(google-build-using-namespace)
using Words = std::vector<std::string>;

void say(const std::string& line) {
  const std::string text = line + "\n";
  if (::write(1, text.data(), text.size()) < 0) ::_exit(3);
}

std::uint64_t number(const std::string& text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::string said(const Error& error) {
  return std::string(name_of(error.kind));
}

template <class T>
T expect(Result<T> result) {
  if (result) return std::move(*result);
  say(said(result.error()));
  ::_exit(2);
}

Array<CheckRow> attach(Store& store, const std::string& text) {
  if (text.find(':') == text.npos) return expect(Array<CheckRow>::attach(store, text));
  return expect(Array<CheckRow>::attach(store, expect(Token::from_text(text))));
}

ArrayOptions options_of(const std::string& mode, std::uint64_t capacity) {
  ArrayOptions options{capacity, 0, Rewrites::kNever, false};
  if (mode == "newest") options.rewrites = Rewrites::kNewest;
  if (mode == "any") options.rewrites = Rewrites::kAny;
  if (mode == "any") options.start = capacity / 2;
  if (mode == "ring") options.ring = true;
  return options;
}

// Pushes where the kernel kills whoever makes a system call other than read, write and exit.
void push_confined(const Words& words) {
  Store store;
  Array<CheckRow> array = expect(Array<CheckRow>::create(store, words.at(0), options_of("newest", 100)));
  std::vector<CheckRow> rows(10, check_row(0));
  ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
  bool pushed = true;
  for (std::uint64_t row = 0; row < 50; ++row) {
    pushed = bool(array.append(check_row(row))) && pushed;
    pushed = bool(array.update_newest(check_row(row, 1))) && pushed;
  }
  pushed = bool(array.append(rows)) && pushed;
  say(pushed ? "pushed" : "refused");
  ::syscall(SYS_exit, 0);
}

// Tells what it reads: each line asks for the newest N rows, and is answered with how many are as they should
// be.
void read_frames(const Words& words) {
  Store store;
  const Array<CheckRow> array = attach(store, words.at(0));
  say("ready");
  for (std::string line; std::getline(std::cin, line);) {
    const Bounds bounds = expect(array.bounds());
    const std::vector<CheckRow> rows = expect(array.last(number(line)));
    std::uint64_t legal = 0;
    for (std::size_t i = 0; i < rows.size(); ++i)
      legal += is_legal(rows[i], bounds.last - rows.size() + i) ? 1 : 0;
    say(std::to_string(legal) + " " + std::to_string(bounds.last));
  }
}

// Waits for row numbers, one after the other, and answers when it can see them.
void wait_for_rows(const Words& words) {
  Store store;
  const Array<CheckRow> array = attach(store, words.at(0));
  std::uint64_t next = expect(array.bounds()).last;
  say("ready");
  for (;;) {
    Result<Bounds> found = array.wait(next, after(std::chrono::seconds(60)));
    if (!found) return say(said(found.error()));
    for (; next < found->last; ++next) {
      const std::vector<CheckRow> row = expect(array.copy(next, next + 1));
      say((is_legal(row[0], next) ? "row " : "wrong row ") + std::to_string(next));
    }
  }
}

void push(const Words& words) {
  Store store;
  Array<CheckRow> array = attach(store, words.at(0));
  Result<std::uint64_t> pushed = array.append(check_row(0));
  say(pushed ? "pushed" : said(pushed.error()));
  Result<Done> updated = array.update_newest(check_row(0));
  say(updated ? "updated" : said(updated.error()));
}

// As one would who means harm, or has a wild pointer: `rows`, `counters`, or through a mapping of its own.
void scribble(const Words& words) {
  Store store;
  const Array<CheckRow> array = attach(store, words.at(0));
  ::signal(SIGSEGV, SIG_DFL);  // sanitizers would tell a long story
  say("ready");
  if (words.at(1) == "rows") {
    const_cast<std::byte*>(array.segment()->rows())[0] = std::byte(1);
  } else if (words.at(1) == "counters") {
    const_cast<Header&>(array.segment()->header()).last.store(1000);
  } else {
    const std::string path = "/proc/" + std::to_string(array.token().identity.owner.pid) + "/fd/" +
                             std::to_string(array.token().rows_fd);
    const int fd = ::open(path.c_str(), O_RDWR);
    void* map = ::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    const bool wrote = ::pwrite(fd, "x", 1, 0) == 1;
    say(fd < 0 ? "closed" : map != MAP_FAILED ? "mapped" : wrote ? "wrote" : "refused");
  }
}

// Owns an array and does as it is told: "append N", "end", "leave" (without a farewell), "crash".
void own(const Words& words) {
  Store store;
  Array<CheckRow> array =
      expect(Array<CheckRow>::create(store, words.at(0), options_of(words.at(1), number(words.at(2)))));
  say(array.token().to_text());
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "end") {
      store.end(words.at(0));
      say("ended");
    } else if (line == "leave") {
      ::_exit(0);
    } else if (line == "crash") {
      ::raise(SIGKILL);
    } else if (line.starts_with("append ")) {
      for (std::uint64_t left = number(line.substr(7)); left > 0; --left)
        expect(array.append(check_row(expect(array.bounds()).last)));
      say("appended");
    }
  }
}

// Writes as fast as it can, in every way its mode allows, until it is killed.
void write_for_ever(const Words& words) {
  Store store;
  const std::string mode = words.at(1);
  constexpr std::uint64_t kRows = 256;
  Array<CheckRow> array = expect(Array<CheckRow>::create(store, words.at(0), options_of(mode, kRows)));
  say(array.token().to_text());
  std::uint64_t version = 0;
  std::vector<CheckRow> rows;
  const auto rows_from = [&](std::uint64_t from, std::uint64_t count) {
    rows.clear();
    ++version;
    for (std::uint64_t row = from; row < from + count; ++row) rows.push_back(check_row(row, version));
    return std::span<const CheckRow>(rows);
  };
  for (std::uint64_t turn = 0;; ++turn) {
    const Bounds bounds = expect(array.bounds());
    if (mode == "ring") {
      expect(array.append(rows_from(bounds.last, 1 + turn % 7)));
    } else if (mode == "any") {
      // Grows at both ends, then begins again in the middle.
      if (turn % 3 == 0 && bounds.first >= 5)
        expect(array.prepend(rows_from(bounds.first - 5, 5)));
      else if (bounds.last + 5 <= kRows)
        expect(array.append(rows_from(bounds.last, 5)));
      else
        expect(array.append(rows_from(bounds.first + (bounds.size() / 2), 3),
                            bounds.first + (bounds.size() / 2)));
      expect(array.update_newest(check_row(expect(array.bounds()).last - 1, ++version)));
    } else {
      if (bounds.last < kRows && turn % 16 == 0) expect(array.append(check_row(bounds.last, ++version)));
      if (mode == "newest")
        expect(array.update_newest(check_row(expect(array.bounds()).last - 1, ++version)));
      else if (bounds.last == kRows)
        ::pause();
    }
  }
}

// An owner that means harm to its readers: says what the kernel let it do, then does the rest as it is told.
void harm(const Words& words) {
  Store store;
  Array<CheckRow> array = expect(Array<CheckRow>::create(store, words.at(0), options_of(words.at(1), 64)));
  for (std::uint64_t row = expect(array.bounds()).last; row < 40; ++row) expect(array.append(check_row(row)));
  say(array.token().to_text());
  const Segment& segment = *array.segment();
  auto& header = const_cast<Header&>(segment.header());
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "truncate") {
      bool done = ::ftruncate(segment.rows_fd(), 0) == 0;
      done = ::ftruncate(segment.page_fd(), 0) == 0 || done;
      done = ::fallocate(segment.rows_fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kPageBytes) == 0 ||
             done;
      done = ::madvise(&header, kPageBytes, MADV_REMOVE) == 0 || done;
      done = ::fcntl(segment.rows_fd(), F_ADD_SEALS, 0) == 0 || done;
      say(done ? "done" : "refused");
      continue;
    }
    if (line == "last") header.last.store(1000000);
    if (line == "first") header.first.store(50);
    if (line == "last back") header.last.store(0);
    if (line == "rebase") header.rebase.store(7);
    if (line == "reserved") header.reserved.store(~std::uint64_t(0));
    if (line == "update") header.update.store(3);
    if (line == "constants") std::memset(static_cast<void*>(&header), 0xff, 128);
    if (line == "noise") std::memset(static_cast<void*>(&header), 0xa5, kPageBytes);
    say("done");
  }
}

// What comes over descriptor 3.
void receive_passed(const Words&) {
  Store store;
  Passed passed = expect(receive(3, after(std::chrono::seconds(30))));
  const Array<CheckRow> array =
      expect(Array<CheckRow>::attach(store, passed.token, std::move(passed.descriptors)));
  const Bounds bounds = expect(array.bounds());
  std::uint64_t legal = 0;
  for (const CheckRow& row : expect(array.last(1000)))
    legal += is_legal(row, std::uint64_t(row.index)) ? 1 : 0;
  say(std::to_string(legal) + " of " + std::to_string(bounds.size()));
}

// Sends messages of growing lengths through a ring of WORDS[1] bytes, as many as WORDS[2]; then ends, or
// dies when told to.
void send_messages(const Words& words) {
  Store store;
  const auto ring = expect(ByteRingWriter::create(store, words.at(0), number(words.at(1))));
  say(ring->token().to_text());
  for (std::uint64_t i = 0; i < number(words.at(2)); ++i) {
    const std::vector<std::byte> message(i % 3000, std::byte(i));
    expect(ring->write_message(message));
  }
  say("sent");
  if (words.at(3) == "die") {
    std::string line;
    std::getline(std::cin, line);  // until it is told to
    ::raise(SIGKILL);
  }
  ring->close();
}

}  // namespace

int main(int argc, char** argv) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const std::map<std::string, std::function<void(const Words&)>> jobs = {{"read", read_frames},
                                                                         {"wait", wait_for_rows},
                                                                         {"push", push},
                                                                         {"scribble", scribble},
                                                                         {"own", own},
                                                                         {"write", write_for_ever},
                                                                         {"harm", harm},
                                                                         {"receive", receive_passed},
                                                                         {"send", send_messages},
                                                                         {"confined", push_confined}};
  const auto job = argc > 1 ? jobs.find(argv[1]) : jobs.end();
  if (job == jobs.end()) return 2;
  job->second(Words(argv + 2, argv + argc));
  return 0;
}
