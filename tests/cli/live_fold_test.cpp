// Goal: what is held is shown soon enough for people who watch, and at the end where it was asked for.
// Method: a LiveFold over a real loop with short times; what it would have written is made at once.
#include "cli/live_fold.h"

#include <catch2/catch.hpp>

#include "core/epoll_loop.h"
#include "core/text.h"

using namespace banyan;
using namespace banyan::cli;

namespace {

constexpr FoldTimes kShort = {
    .unfinished = 50 * kMillisecond, .quiet = 600 * kMillisecond, .held = 3 * kSecond};

struct Bench {
  explicit Bench(const FoldTimes* times)
      : live(loop, std::make_shared<Fold>(Fold::Look{.utf8 = true}, SipHash::Key{1, 2}, [](std::string) {}),
             times,
             {[this](std::shared_ptr<TextSource> source) {
                for (std::string piece; source->next(piece); piece.clear()) shown += piece;
              },
              [this](const std::string& names, std::string_view phase, std::string_view text) {
                shown += cat("failed: ", names, " ", phase, " ", text, "\n");
              }}) {}

  // True once `text` is shown; false when it is not for so long.
  bool shows(std::string_view text, Nanos within = 20 * kSecond) {
    const Nanos end = loop.now() + within;
    while (shown.find(text) == std::string::npos && loop.now() < end) loop.run_once(10 * kMillisecond);
    return shown.find(text) != std::string::npos;
  }

  EpollLoop loop;
  std::string shown;
  LiveFold live;
};

struct Host {
  Host(Bench& bench, const std::string& name)
      : bench_(bench), member_(bench.live, name), out_(member_.stream(false)), err_(member_.stream(true)) {}
  void say(std::string_view text) {
    bench_.shown += out_->feed(text);
    member_.said();
  }
  void end() {
    bench_.shown += out_->finish() + err_->finish();
    member_.ended();
  }

 private:
  Bench& bench_;
  LiveFold::Member member_;
  std::shared_ptr<StreamFormat> out_, err_;
};

}  // namespace

TEST_CASE("a host that has said something and does not end is seen, and goes on line by line") {
  Bench bench(&kShort);
  Host slow(bench, "slow");
  slow.say("one\n");
  CHECK(bench.shown.empty());
  CHECK(bench.shows("slow: one\n"));
  slow.say("two\n");
  CHECK(bench.shown == "slow: one\nslow: two\n");
  slow.end();
  bench.live.show();
  CHECK(bench.shown == "slow: one\nslow: two\n");
}

TEST_CASE(
    "groups are shown when nothing has ended for a moment, and failures after them, equal ones as one") {
  Bench bench(&kShort);
  Host silent(bench, "silent"), first(bench, "a1"), second(bench, "a2");
  first.say("x\n");
  first.end();
  second.say("x\n");
  second.end();
  for (const char* name : {"b1", "b2"}) bench.live.failed(name, "command", "exited with 3");
  CHECK(bench.shown.empty());
  CHECK(bench.shows("failed:"));
  CHECK(bench.shown == "a[1-2] (2)  x\nfailed: b[1-2] (2) command exited with 3\n");
}

TEST_CASE("as long as hosts end one after the other their groups are held, but not for ever") {
  Bench bench(&kShort);
  const Nanos began = bench.loop.now();
  int ended = 0;
  while (bench.shown.empty() && bench.loop.now() - began < 20 * kSecond) {
    Host host(bench, cat("a", ++ended));
    host.say("x\n");
    host.end();
    (void)bench.shows("(", 100 * kMillisecond);
  }
  CHECK(ended > 10);
  CHECK(bench.loop.now() - began >= kShort.held);
  CHECK(bench.shown.starts_with("a[1-"));
}

TEST_CASE("who asked for folding sees nothing before the end, and who said nothing is named then") {
  Bench bench(nullptr);
  Host slow(bench, "slow"), quick(bench, "quick"), silent(bench, "silent");
  slow.say("x\n");
  quick.say("x\n");
  quick.end();
  silent.end();
  bench.live.succeeded("silent");
  bench.live.succeeded("quick");
  CHECK_FALSE(bench.shows("x", 500 * kMillisecond));
  slow.end();
  bench.live.show();
  CHECK(bench.shown ==
        "quick,slow (2)  x\n"
        "silent     (1)  (no output)  ← differs\n");
}
