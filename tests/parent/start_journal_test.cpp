// Goal: what is noted of a start is bounded and told once, and asides are taken out of a text in any split.
// Method: small texts, cut everywhere.
#include "parent/start_journal.h"

#include <catch2/catch.hpp>

using namespace banyan;

TEST_CASE("lines that are asides are taken out, wherever the text is cut") {
  const std::string text = "one\r\ndebug1: two\nthree debug1: four\ndebug1: five\nsix";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    CAPTURE(cut);
    AsideFilter filter("debug1: ");
    std::string rest = filter.feed(std::string_view(text).substr(0, cut));
    rest += filter.feed(std::string_view(text).substr(cut));
    rest += filter.finish();
    CHECK(rest == "one\r\nthree debug1: four\nsix");
  }
}

TEST_CASE("without asides a text goes through at once, and with them a line is not held for ever") {
  AsideFilter none("");
  CHECK(none.feed("no end") == "no end");
  CHECK(none.finish().empty());
  AsideFilter filter("debug1: ");
  std::string rest;
  for (int i = 0; i < 1000; ++i) rest += filter.feed(std::string(100, 'x'));
  CHECK(rest.size() > 50'000);
  filter.feed("\ndebug1: begun");
  CHECK(filter.finish().empty());
}

TEST_CASE("a journal keeps so much of what is said, and so many phases, and no more") {
  StartJournal journal;
  for (int i = 0; i < 1000; ++i) {
    journal.say(std::string(1000, 'x'), i);
    journal.enter(Phase::kConnect, i);
  }
  CHECK(journal.said_bytes == StartJournal::kSaidMax);
  std::size_t bytes = 0;
  for (const StartJournal::Said& said : journal.said) bytes += said.text.size();
  CHECK(bytes == StartJournal::kSaidMax);
  CHECK(journal.phases.size() == StartJournal::kPhasesMax);
}

TEST_CASE("noise grows until stage 0 has reported, and not beyond") {
  StartJournal journal;
  journal.note_shell("a", "", 5);
  journal.note_shell("ab", "", 6);
  CHECK(journal.noise == "ab");
  CHECK(journal.reported == 0);
  journal.note_shell("abc", "x86_64 dd - /tmp/f", 7);
  journal.note_shell("abcd", "another", 8);
  CHECK(journal.noise == "abc");
  CHECK(journal.report == "x86_64 dd - /tmp/f");
  CHECK(journal.reported == 7);
}
