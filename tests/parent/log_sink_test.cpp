// Goal: a record is one line with its true origin, whatever is in it, and a flood of them costs the root
// nothing. Method: two routers joined by a socketpair; honest records through a Logger, hostile ones by hand.
#include "parent/log_sink.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "core/msgpack.h"
#include "core/text.h"
#include "tests/support/tree.h"

namespace banyan {
namespace {

struct Record {
  ContextId origin;
  LogLevel level;
  std::string text;
};

struct Tree {
  EpollLoop loop;
  Router root{loop, test::config_of(0)};
  Router agent{loop, test::config_of(1, {0})};
  std::vector<Record> records;
  LogSink sink{root, [this](ContextId origin, LogLevel level, std::string_view text) {
                 records.push_back({origin, level, std::string(text)});
               }};
  Tree() { test::join(loop, root, agent); }
  bool receive(std::size_t count) {
    return test::run_until(loop, [&] { return records.size() >= count; });
  }
};

TEST_CASE("a record arrives with its level and its origin, the root's own too") {
  Tree tree;
  Logger there(tree.agent, LogLevel::kInformation), here(tree.root, LogLevel::kInformation);
  there.log(LogLevel::kWarning, "over there");
  here.log(LogLevel::kInformation, "over here");
  REQUIRE(tree.receive(2));
  const bool there_first = tree.records[0].origin == 1;
  const Record& first = tree.records[there_first ? 0 : 1];
  const Record& second = tree.records[there_first ? 1 : 0];
  CHECK(first.origin == 1);
  CHECK(first.level == LogLevel::kWarning);
  CHECK(first.text == "over there");
  CHECK(second.origin == 0);
  CHECK(second.text == "over here");
}

TEST_CASE("what is below the level is not sent") {
  Tree tree;
  Logger logger(tree.agent, LogLevel::kWarning);
  CHECK_FALSE(logger.wants(LogLevel::kInformation));
  logger.log(LogLevel::kDebug, "no");
  logger.log(LogLevel::kWarning, "yes");
  logger.set_level(LogLevel::kDebug);
  logger.log(LogLevel::kDebug, "now yes");
  REQUIRE(tree.receive(2));
  CHECK(tree.records[0].text == "yes");
  CHECK(tree.records[1].text == "now yes");
}

TEST_CASE("a record stays one line, and escaping it twice changes nothing") {
  CHECK(one_line("a\nb\r\tc\x1b[2J\x7f\0d") == "a\\nb\\r\\tc\\x1b[2J\\x7f");
  CHECK(one_line("gr\xc3\xbc\xc3\x9f \\n") == "gr\xc3\xbc\xc3\x9f \\n");
  const std::string once = one_line(std::string(20'000, '\n'));
  CHECK(once.size() <= kLogTextMax);
  CHECK(one_line(once) == once);
}

TEST_CASE("a long record is cut between characters") {
  const std::string cut = one_line(std::string("x") + [] {
    std::string euros;
    for (int i = 0; i < 5'000; ++i) euros += "\xe2\x82\xac";
    return euros;
  }());
  CHECK(cut.size() <= kLogTextMax);
  CHECK(cut.substr(cut.size() - 6) == "\xe2\x82\xac...");
}

TEST_CASE("a hostile record with newlines arrives as one line, under its sender's number") {
  Tree tree;
  const std::string fake = "fine\n0 error: the root is broken\n";
  tree.agent.send(0, kLog, Packer().array(2).number(2).text(fake).take());
  REQUIRE(tree.receive(1));
  CHECK(tree.records[0].origin == 1);
  CHECK(tree.records[0].text == "fine\\n0 error: the root is broken\\n");
}

TEST_CASE("records that are none are counted and not shown") {
  Tree tree;
  for (Buffer payload : {Buffer(), Packer().array(2).number(5).text("no such level").take(),
                         Packer().array(2).number(1).number(1).take(), Packer().array(1).number(1).take()})
    tree.agent.send(0, kLog, payload);
  REQUIRE(test::run_until(tree.loop, [&] { return tree.sink.malformed() == 4; }));
  CHECK(tree.records.empty());
}

TEST_CASE("a context that logs too much is cut off, and how much is missing is said") {
  Tree tree;
  Logger logger(tree.agent, LogLevel::kInformation);
  for (int i = 0; i < 1'000; ++i) logger.log(LogLevel::kInformation, "again");
  REQUIRE(tree.receive(kLogRecordsPerSecond + 1));
  CHECK(tree.records.size() == kLogRecordsPerSecond + 1);
  CHECK(tree.records.back().level == LogLevel::kWarning);
  CHECK(tree.records.back().text == "800 log records dropped: too many in a second");
}

TEST_CASE("a context that ignores its quota is cut off by the receiver, and others are not") {
  Tree tree;
  const Buffer record = Packer().array(2).number(1).text("flood").take();
  for (std::uint32_t i = 0; i < 3 * kLogReceivedPerSecond; ++i) tree.agent.send(0, kLog, record);
  Logger honest(tree.root, LogLevel::kInformation);
  REQUIRE(tree.receive(kLogReceivedPerSecond));
  // Behind the flood, on the same stream.
  bool through = false;
  tree.root.add_handler(5'000, Access::anyone(), [&](Incoming&) { through = true; });
  tree.agent.send(0, 5'000, {1});
  honest.log(LogLevel::kInformation, "still here");
  REQUIRE(test::run_until(tree.loop, [&] { return through && tree.records.size() > kLogReceivedPerSecond; }));
  CHECK(tree.records.size() == kLogReceivedPerSecond + 1);
  CHECK(tree.records.back().text == "still here");
  // The next second begins with what the last one lost.
  REQUIRE(test::run_until(tree.loop, [&] {
    tree.agent.send(0, kLog, record);
    return tree.records.size() > kLogReceivedPerSecond + 1;
  }));
  CHECK(tree.records[kLogReceivedPerSecond + 1].text.find("log records dropped") != std::string::npos);
}

}  // namespace
}  // namespace banyan
